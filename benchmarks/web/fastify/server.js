// Fastify with pg: JSON schemas for what comes in and goes out, prepared statements, a transaction per request.
// Usage: node server.js SETTINGS
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createVerifier } from "fast-jwt";
import Fastify from "fastify";
import pg from "pg";
import { conflicting, CREATE, GET, METRICS, page, patch, VERSION } from "./queries.js";
import * as schemas from "./schemas.js";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const seal = Buffer.from(settings.seal, "hex");

// Times as text with all their digits, in the form of RFC 3339; whole numbers as numbers.
pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, (text) => text.replace(" ", "T").replace(/\+00$/, "+00:00"));
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

const pool = new pg.Pool({
  host: settings.host,
  port: settings.port,
  user: settings.user,
  password: settings.password,
  database: settings.database,
  max: settings.pool,
  min: settings.pool,
  idleTimeoutMillis: 0,
  options: "-c timezone=UTC",
});

// The key is read once; each call verifies the signature and the claims.
const verify = createVerifier({
  key: readFileSync(settings.public_key),
  algorithms: [settings.algorithm],
  allowedIss: settings.issuer,
  allowedAud: settings.audience,
  requiredClaims: ["exp", "sub", "organization_id"],
});

const app = Fastify({ logger: false, ajv: { customOptions: { removeAdditional: false, coerceTypes: true } } });
app.decorateRequest("caller", null);

class Refusal extends Error {
  constructor(statusCode, message) {
    super(message);
    this.statusCode = statusCode;
  }
}

app.addHook("onRequest", async (request) => {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ", 2);
  try {
    if (scheme.toLowerCase() !== "bearer") throw new Error("no token");
    request.caller = verify(token);
  } catch {
    throw new Refusal(401, "not authenticated");
  }
});

function context(request) {
  const { organization_id: organization, sub, role } = request.caller;
  const told = String(Math.floor(Date.now() / 1000)).padStart(10, "0") + JSON.stringify({
    user_id: sub,
    role,
    request_id: request.headers["x-request-id"] ?? randomUUID(),
    client_ip: request.ip,
    user_agent: request.headers["user-agent"],
  });
  return [organization, createHmac("sha256", seal).update(organization + told).digest("hex") + told];
}

const CONTEXT = {
  name: "context",
  text: "select set_config('freehold.organization_id', $1, true), set_config('freehold.context', $2, true)",
};

async function transaction(request, work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query("begin");
    await client.query({ ...CONTEXT, values: context(request) });
    const result = await work(client);
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback").catch((failure) => (broken = failure));
    throw error;
  } finally {
    client.release(broken);
  }
}

function answered(reply, row) {
  reply.header("ETag", `"${row.version}"`);
  return row;
}

app.get("/api/customers/:id", { schema: { params: schemas.params, response: { 200: schemas.customer } } },
  async (request, reply) => {
    const values = [request.caller.organization_id, request.params.id];
    const { rows } = await transaction(request, (client) => client.query({ ...GET, values }));
    if (rows.length === 0) throw new Refusal(404, "there is no such customer");
    return answered(reply, rows[0]);
  });

app.get("/api/customers", { schema: { querystring: schemas.query, response: { 200: schemas.page } } },
  async (request) => {
    const query = page(request.caller.organization_id, request.query);
    if (query === null) throw new Refusal(422, "after is no cursor");
    const { rows } = await transaction(request, (client) => client.query(query));
    const last = rows.length === request.query.limit ? rows.at(-1) : null;
    const next = last && Buffer.from(`${last.created_at} ${last.id}`).toString("base64url");
    return { data: rows, next, previous: null };
  });

app.post("/api/customers", { schema: { body: schemas.create, response: { 201: schemas.customer } } },
  async (request, reply) => {
    const values = CREATE.given.map((name) => request.body[name]);
    const query = { name: CREATE.name, text: CREATE.text, values };
    const { rows } = await transaction(request, (client) => client.query(query)).catch((error) => {
      throw conflicting(error) ? new Refusal(409, "there is such a customer already") : error;
    });
    reply.code(201).header("Location", `/api/customers/${rows[0].id}`);
    return answered(reply, rows[0]);
  });

app.patch("/api/customers/:id",
  { schema: { params: schemas.params, body: schemas.patch, response: { 200: schemas.customer } } },
  async (request, reply) => {
    const given = request.headers["if-match"];
    const version = /^"(\d+)"$/.exec(given ?? "")?.[1];
    if (version === undefined) throw new Refusal(given === undefined ? 428 : 400, 'If-Match names the version: "3"');
    const { organization_id: organization, sub } = request.caller;
    const row = await transaction(request, async (client) => {
      const { rows } = await client.query(patch(organization, request.params.id, version, sub, request.body));
      if (rows.length > 0) return rows[0];
      const found = await client.query({ ...VERSION, values: [organization, request.params.id] });
      throw new Refusal(found.rows.length ? 409 : 404, "there is no such customer at this version");
    });
    return answered(reply, row);
  });

app.get("/api/functions/customers.metrics",
  { schema: { querystring: schemas.since, response: { 200: schemas.metrics } } },
  async (request) => {
    const values = [request.query.since];
    const { rows } = await transaction(request, (client) => client.query({ ...METRICS, values }));
    return rows[0];
  });

await (await pool.connect()).release();
await app.listen({ host: "127.0.0.1", port: settings.listen });
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await app.close();
    await pool.end();
  });
}
