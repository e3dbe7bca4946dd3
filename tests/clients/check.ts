// Calls functions through the client that @hey-api/openapi-ts made in the folder `client` beside this file.
//
// node check.js URL VALUES: every function of VALUES with every value; what comes back must be the same.

import { client } from "./client/client.gen.js";
import * as sdk from "./client/sdk.gen.js";
import type { TypesEchoRecordRecord, TypesOddCreateUserUser2 } from "./client/types.gen.js";

declare const process: { argv: string[]; exit(code: number): never };
declare function require(name: "node:fs"): { readFileSync(path: string, encoding: "utf8"): string };

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Call = (options: { body: { value: Json } }) => Promise<{ data?: unknown; error?: unknown; response?: Response }>;

function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((one, at) => same(one, b[at]));
  if (a && b && typeof a === "object" && typeof b === "object") {
    const [keys, others] = [Object.keys(a), Object.keys(b)];
    return keys.length === others.length && keys.every((key) => same(Reflect.get(a, key), Reflect.get(b, key)));
  }
  return Object.is(a, b);
}

function check(holds: boolean, what: unknown): asserts holds {
  if (holds) return;
  console.error(JSON.stringify(what));
  process.exit(1);
}

async function main(url: string, values: string): Promise<void> {
  client.setConfig({ baseUrl: url });
  let calls = 0;
  const expected: Record<string, Json[]> = JSON.parse(require("node:fs").readFileSync(values, "utf8"));
  for (const [name, all] of Object.entries(expected)) {
    const camel = name.replace(/[._](.)/g, (_, letter: string) => letter.toUpperCase());
    const call = Reflect.get(sdk, camel) as Call | undefined;
    check(call !== undefined, { missing: camel });
    for (const value of all) {
      const answer = await call({ body: { value } });
      check(answer.error === undefined, { name, value, error: answer.error });
      // The generator reads `null` and empty text as an empty object.
      const empty = value === null || value === "";
      check(same(answer.data, value) || (empty && same(answer.data, {})), { name, value, data: answer.data });
      calls += 1;
    }
  }

  // With the types that the generator made: these lines compile, or the document is wrong.
  const created = await sdk.typesOddCreateUser({ body: { user: { name: "Ada", role: "Admin" } }, throwOnError: true });
  const user: TypesOddCreateUserUser2 = created.data;
  check(user.id === 7 && user.name === "Ada" && user.role === "Admin", user);
  const wide = await sdk.typesEchoUnsigned128({
    body: { value: "340282366920938463463374607431768211455" },
    headers: { "x-framex-timeout-ms": 5000, "idempotency-key": "once" },
    throwOnError: true,
  });
  const digits: string = wide.data;
  check(BigInt(digits) === 2n ** 128n - 1n, digits);
  const record: TypesEchoRecordRecord = {
    bytes: "AQI=", wide: "1", wides: [], nested: [null], id: 1, unit: null, any: { free: [1] },
  };
  check((await sdk.typesEchoRecord({ body: { value: record } })).error === undefined, record);
  const none = await sdk.typesOddDefaults({ throwOnError: true });
  check(same(none.data, [null, "", null, "42"]), none.data);
  console.log(calls, "calls");
}

void main(process.argv[2] ?? "", process.argv[3] ?? "");
