// The Supabase API of this machine: @supabase/lite used as a library over real PostgreSQL 17.
//
//   node launcher.mjs serve|auth-tables   < configuration (one JSON document on standard input)
//
// The configuration comes by standard input because it holds passwords and keys, which would
// show in a process list as arguments. Numbers in comments point at the defects of lite 0.10.0
// that each part cures; docs/decisions tells the story.
import { AsyncLocalStorage } from "node:async_hooks";
import { timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { createAdaptorServer } from "@hono/node-server";
import { App } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";

const EXIT_BAD_CONFIGURATION = 2;
const EXIT_PORT_TAKEN = 98;
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const HEALTH_TIMEOUT_MS = 2_000;
const DRAIN_TIMEOUT_MS = 1_000;
const LEAVE_TIMEOUT_MS = 2_500;

const fail = (message, code = EXIT_BAD_CONFIGURATION) => {
   console.error(`launcher: ${message}`);
   process.exit(code);
};

async function readConfiguration() {
   let text = "";
   for await (const chunk of process.stdin.setEncoding("utf8")) text += chunk;
   let configuration;
   try {
      configuration = JSON.parse(text);
   } catch {
      fail("standard input must hold one JSON document");
   }
   // 12: without keys lite checks none at all, so every caller would be let in.
   for (const name of ["database_url", "jwt_secret", "publishable_key", "secret_key"]) {
      if (typeof configuration[name] !== "string" || configuration[name] === "") {
         fail(`refusing to start without ${name}`);
      }
   }
   return configuration;
}

// 1: lite hands over json arguments already as text; encoding them again makes them strings.
const toJson = (value) =>
   typeof value === "string" && /^[{[]/.test(value) ? value : JSON.stringify(value);

// 5: "2026-11-22 07:40:03.44+00" becomes what PostgREST answers, "2026-11-22T07:40:03.44+00:00".
function toIsoInstant(text) {
   const parts = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d)?(:\d\d)?( BC)?$/.exec(text);
   if (!parts) return text; // infinity, -infinity
   const [, date, time, hours, minutes, era] = parts;
   const zone = hours === undefined ? "" : hours + (minutes ?? ":00");
   return `${date}T${time}${zone}${era ?? ""}`;
}

function toNumber(text) {
   const number = Number(text);
   return Number.isFinite(number) ? number : text; // NaN and infinity have no JSON form
}

const asIs = (value) => value;
const TYPES = {
   json: { to: 114, from: [114], serialize: toJson, parse: JSON.parse },
   jsonb: { to: 3802, from: [3802], serialize: toJson, parse: JSON.parse },
   timestamptz: { to: 1184, from: [1184], serialize: asIs, parse: toIsoInstant },
   timestamp: { to: 1114, from: [1114], serialize: asIs, parse: toIsoInstant },
   numeric: { to: 1700, from: [1700], serialize: String, parse: toNumber },
};

const databaseError = new AsyncLocalStorage();

function connect(configuration) {
   const connection = createPostgresConnection({
      url: configuration.database_url,
      ddlDialect: "postgres",
      postgresOptions: {
         max: configuration.max_connections ?? 8,
         connect_timeout: 10,
         onnotice: () => {},
         connection: { application_name: "gridpact-api" },
         types: TYPES,
      },
   });
   // 7, 8: lite's own method leaves every request the connection's role when no table has row
   // security, and otherwise grants everything to everybody. Roles are always set instead.
   connection.ensureRlsContext = async () => true;
   // 4: most database errors leave lite as code "SUP"; keep the real one beside the request.
   const withContext = connection.withContext.bind(connection);
   connection.withContext = async (...args) => {
      try {
         return await withContext(...args);
      } catch (error) {
         const slot = databaseError.getStore();
         if (slot) slot.error = error;
         throw error;
      }
   };
   return connection;
}

function statusOf(code) {
   if (/^(08|57P|CONN|ECONN)/.test(code)) return 503;
   if (/^(40|57014|XX)/.test(code)) return 500;
   return 400;
}

const databaseAnswer = ({ code, message, detail, hint }) =>
   json(statusOf(code), { code, message, details: detail ?? null, hint: hint ?? null });

async function restoreErrorCode(response, error) {
   const text = await response.text();
   const headers = new Headers(response.headers);
   headers.delete("content-length");
   let body;
   try {
      body = JSON.parse(text);
   } catch {
      body = {};
   }
   if (body.code !== "SUP" || typeof error?.code !== "string") {
      return new Response(text, { status: response.status, headers });
   }
   return databaseAnswer(error);
}

const json = (status, body) =>
   new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } });
const notFound = () => json(404, { code: "404", message: "not found", details: null, hint: null });

async function health(connection, instance) {
   const late = new Promise((_, reject) =>
      setTimeout(reject, HEALTH_TIMEOUT_MS, new Error("no answer from PostgreSQL")).unref(),
   );
   try {
      await Promise.race([connection.driver`select 1`, late]);
      return json(200, { status: "ok", instance, pid: process.pid });
   } catch (error) {
      return json(503, { status: "unavailable", instance, pid: process.pid, message: String(error) });
   }
}

const STATIC_ROOT = join(dirname(fileURLToPath(import.meta.resolve("@supabase/lite"))), "static");
const CONTENT_TYPES = {
   ".css": "text/css",
   ".ico": "image/x-icon",
   ".js": "text/javascript",
   ".json": "application/json",
   ".svg": "image/svg+xml",
   ".woff2": "font/woff2",
};

async function serveStatic(pathname) {
   const file = normalize(join(STATIC_ROOT, decodeURIComponent(pathname.replace(/^\/static\//, "/"))));
   if (!file.startsWith(STATIC_ROOT + sep)) return notFound();
   try {
      const type = CONTENT_TYPES[extname(file)] ?? "application/octet-stream";
      return new Response(await readFile(file), { headers: { "content-type": type } });
   } catch {
      return notFound();
   }
}

// lite reads a body into objects and writes it again, which for thousands of rows takes longer
// than passing them on. These calls of the secret key's holder are answered here: same request,
// same role, same answer, but PostgreSQL is the first to read the body.
const BULK_CALLS = new Map([
   ["/rest/v1/rpc/ingest", "select public.ingest($1::jsonb -> 'p_batch') as counts"],
   ["/rest/v1/rpc/ingest_columns", "select public.ingest_columns($1::jsonb -> 'p_parts') as counts"],
]);

function isSecret(given, secret) {
   const [left, right] = [Buffer.from(given ?? ""), Buffer.from(secret)];
   return left.length === right.length && timingSafeEqual(left, right);
}

function isBulkCall(request, pathname, { secret_key: secret }) {
   const { method, headers } = request;
   if (method !== "POST" || !BULK_CALLS.has(pathname) || !isSecret(headers.get("apikey"), secret)) {
      return false;
   }
   // A user's token beside the key would make the caller that user: lite's business.
   const authorization = headers.get("authorization");
   return authorization === null || isSecret(authorization, `Bearer ${secret}`);
}

async function bulkCall(incoming, pathname, connection) {
   // From the socket itself: the way through web streams costs as much as all the rest here.
   const chunks = [];
   for await (const chunk of incoming) chunks.push(chunk);
   const body = Buffer.concat(chunks).toString("utf8");
   try {
      const results = await connection.driver.begin((sql) => [
         sql`set local role service_role`,
         sql.unsafe(BULK_CALLS.get(pathname), [body], { prepare: true }),
      ]);
      return json(200, results[1][0].counts);
   } catch (error) {
      if (typeof error?.code !== "string") throw error;
      return databaseAnswer(error);
   }
}

function handler(app, connection, configuration) {
   const { admin = false, instance = null } = configuration;
   return async (request, { incoming }) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/healthz") return health(connection, instance);
      if (Number(request.headers.get("content-length") ?? 0) > MAX_BODY_BYTES) {
         const message = `a body holds at most ${MAX_BODY_BYTES} bytes`;
         return json(413, { code: "413", message, details: null, hint: "send smaller batches" });
      }
      // 9: /_system shows the database URL with its password and asks for no key. A list of what
      // is served, not of what is barred: the router decodes percent signs, so a bar has holes.
      if (!admin && !/^\/(rest|auth)\/v1(\/|$)/.test(pathname)) return notFound();
      if (admin && (pathname === "/favicon.ico" || pathname.startsWith("/static/"))) {
         return serveStatic(pathname);
      }
      if (isBulkCall(request, pathname, configuration)) {
         return bulkCall(incoming, pathname, connection);
      }
      const peerAddress = incoming.socket?.remoteAddress ?? null;
      const slot = { error: null };
      const response = await databaseError.run(slot, () => app.fetch(request, { peerAddress }));
      if (response.status === 500) return restoreErrorCode(response, slot.error);
      if (admin && /json/.test(response.headers.get("content-type") ?? "")) {
         return hidePassword(response, configuration.database_url);
      }
      return response;
   };
}

// 9: with admin the page needs /_system/info, but nobody needs the password in it.
async function hidePassword(response, databaseUrl) {
   const password = decodeURIComponent(new URL(databaseUrl).password);
   const text = (await response.text()).replaceAll(password, "***");
   const headers = new Headers(response.headers);
   headers.delete("content-length");
   const body = [204, 304].includes(response.status) ? null : text;
   return new Response(body, { status: response.status, headers });
}

function leaveWithParent(parentPid, leave) {
   if (!parentPid) return;
   setInterval(() => {
      if (process.ppid !== parentPid) leave();
   }, 1_000).unref();
}

function serve(app, connection, configuration) {
   const server = createAdaptorServer({ fetch: handler(app, connection, configuration) });
   let leaving = false;
   const leave = async () => {
      if (leaving) return;
      leaving = true;
      setTimeout(() => process.exit(0), LEAVE_TIMEOUT_MS).unref();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS).unref();
      await closed;
      await connection.close();
      process.exit(0);
   };
   process.on("SIGTERM", leave);
   process.on("SIGINT", leave);
   leaveWithParent(configuration.parent_pid, leave);
   server.on("error", (error) =>
      fail(error.message, error.code === "EADDRINUSE" ? EXIT_PORT_TAKEN : 1),
   );
   server.listen(configuration.port, "127.0.0.1", () =>
      console.log(JSON.stringify({ event: "listening", port: server.address().port })),
   );
}

const configuration = await readConfiguration();
const connection = connect(configuration);
const app = new App({
   connection,
   api: { schemas: ["public"], max_rows: 1000 },
   auth: {
      enabled: true,
      jwt_secret: configuration.jwt_secret,
      publishable_key: configuration.publishable_key,
      secret_key: configuration.secret_key,
   },
   options: { server: { admin: configuration.admin === true } },
});

switch (process.argv[2]) {
   case "serve":
      serve(app, connection, configuration);
      break;
   case "auth-tables":
      await app.ensureSystemSchema();
      await connection.close();
      break;
   default:
      fail(`unknown mode ${process.argv[2]}; one of: serve, auth-tables`);
}
