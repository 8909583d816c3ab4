// The package as it was installed from its tarball.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

const at = new URL("node_modules/session-process-live/", import.meta.url);

test("the package is imported by its name and works", async () => {
  const { live, merge, sse, ws } = await import("session-process-live");
  assert.deepEqual([sse, ws, merge].map((it) => typeof it), ["function", "function", "function"]);
  const frames = [{ t: "hello", epoch: "e", heartbeat_ms: 1000 }, { t: "state", rev: 1, data: { count: 2 } }];
  const transport = (url, { frame }) => {
    assert.equal(url, "/live");
    queueMicrotask(() => frames.forEach((each) => frame(each)));
    return { close() {} };
  };
  const page = live("/live", { transport });
  for await (const state of page) {
    assert.deepEqual(state, { count: 2 });
    page.close();
  }
  assert.equal(page.status, "closed");
});

test("the package holds the module, its types, and what npm wants to see", () => {
  assert.deepEqual(readdirSync(at).sort(), ["LICENSE", "README.md", "live.d.ts", "live.js", "package.json"]);
  const read = (path) => readFileSync(new URL(path, at), "utf8");
  const { version, exports, dependencies } = JSON.parse(read("package.json"));
  assert.equal(dependencies, undefined);
  for (const path of Object.values(exports["."])) assert.ok(read(path).length > 0);
  // Where the source is beside it: `cargo xtask test` says so.
  const expected = process.env.EXPECTED_VERSION;
  if (expected) assert.equal(version, expected, "the version of the crate");
  const license = process.env.EXPECTED_LICENSE;
  if (license) assert.equal(read("LICENSE"), readFileSync(license, "utf8"), "the project's licence");
});
