// The statements, named so that each connection prepares them once.
import { readFileSync } from "node:fs";
import { create, customer } from "./schemas.js";

const columns = Object.keys(customer.properties).join(", ");
const given = Object.keys(create.properties);
const alive = "organization_id = $1 and id = $2 and deleted_at is null";

export const GET = { name: "get", text: `select ${columns} from app.customers where ${alive}` };
export const VERSION = { name: "version", text: `select version from app.customers where ${alive}` };
export const CREATE = {
  name: "create",
  given,
  text: `insert into app.customers (${given.join(", ")})
    values (${given.map((_, place) => `$${place + 1}`).join(", ")}) returning ${columns}`,
};
// The same text as for everybody: the file is written beside the settings.
export const METRICS = { name: "metrics", text: readFileSync(process.argv[3], "utf8").replace(":since", "$1") };

export function page(organization, { status, order, limit, after }) {
  const conditions = ["organization_id = $1", "deleted_at is null"];
  const values = [organization];
  if (status !== undefined) conditions.push(`status = $${values.push(status)}`);
  const down = order.startsWith("-");
  if (after !== undefined) {
    const place = /^(\S+) ([0-9a-f-]{36})$/.exec(Buffer.from(after, "base64url").toString());
    if (place === null) return null;
    values.push(place[1], place[2]);
    conditions.push(`(created_at, id) ${down ? "<" : ">"} ($${values.length - 1}, $${values.length})`);
  }
  const way = down ? "desc" : "asc";
  // The limit stands in the text: as a parameter it would have the server plan the statement anew for every call.
  const text = `select ${columns} from app.customers where ${conditions.join(" and ")}
    order by created_at ${way}, id ${way} limit ${limit}`;
  return { name: `page ${conditions.length} ${status !== undefined} ${order} ${limit}`, text, values };
}

export function patch(organization, id, version, user, changes) {
  const names = given.filter((name) => name in changes);
  const changed = names.map((name, place) => `${name} = $${place + 5}, `).join("");
  return {
    name: `patch ${names.map((name) => given.indexOf(name)).join(" ")}`,
    text: `update app.customers set ${changed}version = version + 1, updated_at = now(), updated_by = $4
      where organization_id = $1 and id = $2 and version = $3 and deleted_at is null returning ${columns}`,
    values: [organization, id, version, user, ...names.map((name) => changes[name])],
  };
}

export function conflicting(error) {
  return error.code === "23505";
}
