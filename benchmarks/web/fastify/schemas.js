// What comes in and goes out, as JSON schemas: the fields and bounds of benchmarks/web/entities.py.
const text = (maxLength, more = {}) => ({ type: "string", maxLength, ...more });
const optional = (maxLength) => ({ type: ["string", "null"], maxLength, default: null });
const money = { type: "string", pattern: "^-?\\d{1,12}(\\.\\d{1,2})?$", default: "0" };
const uuid = { type: "string", format: "uuid" };

const fields = {
  name: text(200, { minLength: 1 }),
  email: optional(320),
  phone: optional(40),
  status: { type: "string", enum: ["prospect", "active", "inactive"], default: "prospect" },
  kind: { type: "string", enum: ["person", "company"], default: "company" },
  industry: optional(100),
  credit: { type: "string", pattern: "^\\d{1,10}(\\.\\d{1,2})?$", default: "0" },
  lifetime_value: money,
  payment_days: { type: "integer", minimum: 0, default: 30 },
  website: optional(500),
  notes: optional(10000),
  tags: { type: "array", items: { type: "string" }, default: [] },
  newsletter: { type: "boolean", default: false },
  last_order_at: { type: ["string", "null"], format: "date-time", default: null },
};
const withoutDefault = ({ default: _, ...schema }) => schema;
const changed = Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, withoutDefault(schema)]));
const out = (type) => ({ type });

export const params = { type: "object", required: ["id"], properties: { id: uuid } };
export const create = { type: "object", required: ["name"], additionalProperties: false, properties: fields };
export const patch = { type: "object", additionalProperties: false, properties: changed };
export const query = {
  type: "object",
  additionalProperties: false,
  properties: {
    status: { type: "string", enum: ["prospect", "active", "inactive"] },
    order: { type: "string", enum: ["created_at", "-created_at"], default: "created_at" },
    limit: { type: "integer", minimum: 1, maximum: 200, default: 50 },
    after: { type: "string", maxLength: 200 },
  },
};
export const since = {
  type: "object",
  required: ["since"],
  additionalProperties: false,
  properties: { since: { type: "string", format: "date-time" } },
};
export const customer = {
  type: "object",
  properties: {
    id: out("string"),
    organization_id: out("string"),
    name: out("string"),
    email: { type: "string", nullable: true },
    phone: { type: "string", nullable: true },
    status: out("string"),
    kind: out("string"),
    industry: { type: "string", nullable: true },
    credit: out("string"),
    lifetime_value: out("string"),
    payment_days: out("integer"),
    website: { type: "string", nullable: true },
    notes: { type: "string", nullable: true },
    tags: { type: "array", items: out("string") },
    newsletter: out("boolean"),
    last_order_at: { type: "string", nullable: true },
    version: out("integer"),
    created_at: out("string"),
    updated_at: out("string"),
    created_by: { type: "string", nullable: true },
    updated_by: { type: "string", nullable: true },
    deleted_at: { type: "string", nullable: true },
  },
};
export const page = {
  type: "object",
  properties: {
    data: { type: "array", items: customer },
    next: { type: "string", nullable: true },
    previous: { type: "string", nullable: true },
  },
};
export const metrics = {
  type: "object",
  properties: {
    customers: out("integer"),
    customers_by_status: { type: "object", additionalProperties: out("integer") },
    new_customers: out("integer"),
    open_orders: out("integer"),
    open_total: out("string"),
    top_customers: {
      type: "array",
      items: {
        type: "object",
        properties: { id: out("string"), name: out("string"), orders: out("integer"), total: out("string") },
      },
    },
  },
};
