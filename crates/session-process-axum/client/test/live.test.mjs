// The client's logic, with transports, time and a window that the tests hold in their hands.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import { afterEach, beforeEach, mock, test } from "node:test";
import { gzipSync } from "node:zlib";
import { live, merge, sse, ws } from "../live.js";

const source = new URL("../live.js", import.meta.url);

/** Lets promises come to rest. */
const settle = async () => { for (let i = 0; i < 20; i++) await Promise.resolve(); };

class FakeChannel {
  static all = [];
  constructor(name) { this.name = name; FakeChannel.all.push(this); }
  postMessage(data) {
    const others = FakeChannel.all.filter((other) => other !== this && other.name === this.name);
    for (const other of others) queueMicrotask(() => other.onmessage?.({ data: structuredClone(data) }));
  }
  close() { FakeChannel.all = FakeChannel.all.filter((other) => other !== this); }
}

class FakeLocks {
  waiting = [];
  request(name, { signal }, work) {
    return new Promise((resolve, reject) => {
      const turn = { run: () => { this.holder = turn; Promise.resolve(work()).then(() => { this.holder = undefined; this.next(); resolve(); }); } };
      signal.addEventListener("abort", () => {
        if (this.holder === turn) return;
        this.waiting = this.waiting.filter((other) => other !== turn);
        reject(new DOMException("aborted", "AbortError"));
      });
      this.waiting.push(turn);
      this.next();
    });
  }
  next() { if (!this.holder) this.waiting.shift()?.run(); }
}

function fakeWindow(more = {}) {
  const window = new EventTarget();
  window.document = Object.assign(new EventTarget(), { hidden: false });
  window.fetched = [];
  window.fetch = async (url, options) => {
    window.fetched.push({ url, ...options });
    return { ok: true, status: 200, json: async () => ({ data: "done" }) };
  };
  return Object.assign(window, more);
}

/** A transport that does what the test says. */
function fakeTransport(more = {}) {
  const links = [];
  const transport = (url, handlers) => {
    const link = { ...handlers, url, isClosed: false, close() { link.isClosed = true; }, ...more };
    links.push(link);
    return { close: link.close, ...(more.send && { send: (frame) => link.send(frame) }) };
  };
  return { links, transport, get last() { return links.at(-1); } };
}

const hello = (more) => ({ t: "hello", v: 1, epoch: "e1", rev: 1, resumed: false, heartbeat_ms: 15000, ...more });

function start(options = {}, window = fakeWindow(), fake = fakeTransport(options.more)) {
  const seen = { state: [], status: [], expired: [], event: [], expiring: [] };
  const handlers = Object.fromEntries(Object.keys(seen).map((key) => ["on" + key, (value) => seen[key].push(value)]));
  const page = live("/live", { window, transport: fake.transport, random: () => 0.5, ...handlers, ...options });
  return { page, window, fake, seen };
}

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 }));
afterEach(() => { mock.timers.reset(); FakeChannel.all = []; });

test("the module has no dependencies and at most 3 kB compressed", () => {
  const text = readFileSync(source, "utf8");
  assert.ok(gzipSync(text, { level: 9 }).length <= 3 * 1024, `${gzipSync(text, { level: 9 }).length} bytes`);
  assert.doesNotMatch(text, /\bimport\b|\brequire\(/);
});

test("states, patches and events reach the page, as callbacks and as DOM events", () => {
  const { page, window, fake, seen } = start();
  const dom = [];
  for (const type of ["state", "event", "expired"]) window.document.addEventListener("live:" + type, ({ detail }) => dom.push([type, detail]));
  fake.last.frame(hello());
  fake.last.frame({ t: "state", rev: 1, data: { a: 1, b: 2 } });
  fake.last.frame({ t: "patch", from: 1, rev: 2, data: { a: null, c: 3 } });
  fake.last.frame({ t: "event", name: "mail", data: 7 });
  fake.last.frame({ t: "expiring", in_ms: 5000, kind: "idle" });
  assert.deepEqual(seen.state, [{ a: 1, b: 2 }, { b: 2, c: 3 }]);
  assert.deepEqual(page.state, { b: 2, c: 3 });
  assert.equal(seen.event[0].name, "mail");
  assert.equal(seen.expiring[0].in_ms, 5000);
  assert.equal(page.status, "open");
  fake.last.frame({ t: "session_expired", reason: "logout" });
  assert.deepEqual(dom.map(([type]) => type), ["state", "state", "event", "expired"]);
  assert.deepEqual(dom.at(-1)[1], { reason: "logout" });
});

test("merge is RFC 7396", () => {
  // The table of its appendix A.
  for (const [target, patch, result] of [
    [{ a: "b" }, { a: "c" }, { a: "c" }], [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }], [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }], [{ a: ["b"] }, { a: "c" }, { a: "c" }], [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }], [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [["a", "b"], ["c", "d"], ["c", "d"]], [{ a: "b" }, ["c"], ["c"]], [{ a: "foo" }, null, null], [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }], [[1, 2], { a: "b", c: null }, { a: "b" }], [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ]) assert.deepEqual(merge(target, patch), result);
  const evil = merge({}, JSON.parse('{"__proto__": {"polluted": 1}}'));
  assert.equal({}.polluted, undefined);
  assert.equal(evil.polluted, undefined);
});

test("a connection that is lost is made again with full jitter, and goes on where it was", () => {
  const { fake } = start();
  fake.last.frame(hello());
  fake.last.frame({ t: "state", rev: 4, data: 1 });
  fake.last.closed(1006);
  mock.timers.tick(249);
  assert.equal(fake.links.length, 1);
  mock.timers.tick(1);
  assert.equal(fake.links.length, 2);
  assert.deepEqual(fake.last.resume, { epoch: "e1", rev: 4 });
  const waits = [];
  for (let n = 0; n < 10; n++) {
    fake.last.closed(1006);
    const before = fake.links.length;
    let waited = 0;
    while (fake.links.length === before) { mock.timers.tick(50); waited += 50; }
    waits.push(waited);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000, 15000, 15000].map((most) => most));
});

test("the wait begins anew after a connection that held", () => {
  const { fake } = start();
  for (let n = 0; n < 5; n++) { fake.last.closed(1006); mock.timers.tick(15000); }
  fake.last.frame(hello());
  mock.timers.tick(11000);
  fake.last.closed(0);
  const before = fake.links.length;
  mock.timers.tick(250);
  assert.equal(fake.links.length, before + 1);
});

test("what a code means", () => {
  for (const [code, status] of [[401, "expired"], [410, "expired"], [4401, "expired"], [403, "closed"], [404, "closed"], [1000, "closed"],
    [1008, "closed"], [4400, "closed"], [4403, "closed"], [4406, "closed"], [0, "waiting"], [1001, "waiting"], [1006, "waiting"], [1011, "waiting"],
    [1012, "waiting"], [4408, "waiting"], [4410, "waiting"], [429, "waiting"], [1013, "waiting"], [4429, "waiting"], [500, "waiting"], [503, "waiting"]]) {
    const { page, fake } = start();
    fake.last.closed(code);
    assert.equal(page.status, status, String(code));
  }
  // Where there is a crowd, it waits longer.
  const { fake } = start();
  fake.last.closed(4429);
  mock.timers.tick(5000);
  assert.equal(fake.links.length, 1);
  mock.timers.tick(1000);
  assert.equal(fake.links.length, 2);
});

test("the end of a session stops it, and says why", async () => {
  const { page, fake, seen } = start();
  const states = [];
  const reading = (async () => { for await (const state of page) states.push(state); })();
  fake.last.frame(hello());
  fake.last.frame({ t: "state", rev: 1, data: "a" });
  await settle();
  fake.last.frame({ t: "session_expired", reason: "revoked" });
  fake.last.closed(0);
  mock.timers.tick(100_000);
  await reading;
  assert.deepEqual(states, ["a"]);
  assert.deepEqual(seen.expired, [{ reason: "revoked" }]);
  assert.equal(fake.links.length, 1);
  assert.ok(fake.last.isClosed);
  // Somebody has signed in again.
  page.connect();
  assert.equal(fake.links.length, 2);
});

test("a session that is gone when the page comes back, and one that never was", () => {
  const there = start();
  there.fake.last.frame(hello());
  there.fake.last.closed(1006);
  mock.timers.tick(1000);
  there.fake.last.closed(401);
  assert.deepEqual(there.seen.expired, [{ reason: "gone" }]);
  const never = start();
  never.fake.last.closed(401);
  assert.deepEqual(never.seen.expired, [{ reason: "none" }]);
});

test("after a new id, the cookie may come a moment later", () => {
  const { page, fake } = start();
  fake.last.frame(hello());
  fake.last.frame({ t: "reconnect", after_ms: 500, reason: "moved" });
  fake.last.closed(0);
  mock.timers.tick(499);
  assert.equal(fake.links.length, 1);
  mock.timers.tick(251);
  fake.last.closed(401);
  assert.equal(page.status, "waiting");
  mock.timers.tick(1000);
  fake.last.frame(hello({ epoch: "e2" }));
  assert.equal(page.status, "open");
  fake.last.closed(401);
  assert.equal(page.status, "expired", "and from then on it counts");
});

test("a connection that is silent for two heartbeats is given up", () => {
  const { fake } = start();
  fake.last.frame(hello({ heartbeat_ms: 10000 }));
  for (let n = 0; n < 5; n++) { mock.timers.tick(15000); fake.last.frame({ t: "ping" }); }
  assert.equal(fake.links.length, 1);
  mock.timers.tick(20000);
  assert.ok(fake.links[0].isClosed);
  mock.timers.tick(1000);
  assert.equal(fake.links.length, 2);
});

test("a late word from a connection that was given up changes nothing", () => {
  const { page, fake } = start();
  const old = fake.last;
  old.frame(hello());
  old.closed(1006);
  mock.timers.tick(1000);
  old.frame({ t: "state", rev: 9, data: "late" });
  old.closed(401);
  assert.equal(page.state, undefined);
  assert.equal(page.status, "connecting");
});

test("a gap in the patches asks for the whole", () => {
  const { fake, seen } = start();
  fake.last.frame(hello());
  fake.last.frame({ t: "state", rev: 1, data: { n: 1 } });
  fake.last.frame({ t: "patch", from: 5, rev: 6, data: { n: 6 } });
  assert.deepEqual(seen.state, [{ n: 1 }]);
  mock.timers.tick(1000);
  assert.deepEqual(fake.last.resume, { epoch: undefined, rev: 1 });
});

test("a hidden page does not come back until it is seen, or online", () => {
  const window = fakeWindow();
  const { fake } = start({}, window);
  fake.last.frame(hello());
  window.document.hidden = true;
  window.document.dispatchEvent(new Event("visibilitychange"));
  fake.last.closed(1006);
  mock.timers.tick(100_000);
  assert.equal(fake.links.length, 1);
  window.document.hidden = false;
  window.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(fake.links.length, 2, "at once");
  fake.last.closed(1006);
  window.dispatchEvent(new Event("online"));
  assert.equal(fake.links.length, 3, "at once");
});

test("it closes on pagehide and opens again on pageshow", () => {
  const { window, fake } = start();
  fake.last.frame(hello());
  fake.last.frame({ t: "state", rev: 3, data: 1 });
  window.dispatchEvent(new Event("pagehide"));
  assert.ok(fake.last.isClosed);
  mock.timers.tick(100_000);
  assert.equal(fake.links.length, 1);
  window.dispatchEvent(new Event("pageshow"));
  assert.equal(fake.links.length, 2);
  assert.deepEqual(fake.last.resume, { epoch: "e1", rev: 3 });
});

test("it closes when the browser freezes the page, and opens again when it goes on", () => {
  const { window, fake } = start();
  fake.last.frame(hello());
  window.document.dispatchEvent(new Event("freeze"));
  assert.ok(fake.last.isClosed);
  window.document.dispatchEvent(new Event("resume"));
  assert.equal(fake.links.length, 2);
});

test("the first pageshow, of a page that just opens, is not a second connection", () => {
  const { window, fake } = start();
  window.dispatchEvent(new Event("pageshow"));
  assert.equal(fake.links.length, 1);
});

test("an AbortSignal closes it for good", async () => {
  const abort = new AbortController();
  const { page, window, fake } = start({ signal: abort.signal });
  fake.last.frame(hello());
  const reading = (async () => { for await (const _ of page); })();
  abort.abort();
  await reading;
  assert.ok(fake.last.isClosed);
  page.connect();
  window.dispatchEvent(new Event("online"));
  mock.timers.tick(100_000);
  assert.equal(fake.links.length, 1);
  assert.equal(start({ signal: AbortSignal.abort() }).page.status, "closed");
});

test("what comes while a state is worked on comes next, and a page that is closed meanwhile ends the reading", async () => {
  const { page, fake } = start();
  fake.last.frame(hello());
  const states = [];
  fake.last.frame({ t: "state", rev: 1, data: 1 });
  const reading = (async () => {
    for await (const state of page) {
      states.push(state);
      if (state === 1) fake.last.frame({ t: "state", rev: 2, data: 2 }); else page.close();
    }
    states.push("end");
  })();
  await settle();
  assert.deepEqual(states, [1, 2, "end"]);
  await reading;
});

test("it works where a window has no events, as in Node", async () => {
  const { page, fake } = start({}, { fetch: async () => ({ ok: true, status: 200, json: async () => ({}) }) });
  fake.last.frame(hello());
  assert.equal(page.status, "open");
  page.close();
});

test("the iterator gives the newest and not each", async () => {
  const { page, fake } = start();
  fake.last.frame(hello());
  const iterator = page[Symbol.asyncIterator]();
  for (let n = 1; n <= 5; n++) fake.last.frame({ t: "state", rev: n, data: n });
  assert.equal((await iterator.next()).value, 5);
  const next = iterator.next();
  fake.last.frame({ t: "state", rev: 6, data: 6 });
  assert.equal((await next).value, 6);
});

test("keys and the pointer say that somebody is there, once in thirty seconds", () => {
  const { window, fake } = start();
  const press = () => window.document.dispatchEvent(new Event("keydown"));
  press();
  assert.equal(window.fetched.length, 0, "not before it is open");
  fake.last.frame(hello());
  press();
  window.document.dispatchEvent(new Event("pointerdown"));
  mock.timers.tick(29_999);
  fake.last.frame({ t: "ping" });
  press();
  assert.equal(window.fetched.length, 1);
  assert.equal(window.fetched[0].body, '{"t":"active"}');
  mock.timers.tick(1);
  press();
  assert.equal(window.fetched.length, 2);
});

test("a message goes by POST, and its answer or its error comes back", async () => {
  const window = fakeWindow();
  const { page, fake, seen } = start({}, window);
  fake.last.frame(hello());
  assert.equal(await page.send("add", { item: "tea" }), "done");
  const [{ url, method, headers, body }] = window.fetched;
  assert.deepEqual([url, method, headers["content-type"]], ["/live", "POST", "application/json"]);
  assert.deepEqual(JSON.parse(body), { t: "send", id: 1, name: "add", data: { item: "tea" } });
  window.fetch = async () => ({ ok: false, status: 422, json: async () => ({ error: { code: "full", message: "no more" } }) });
  await assert.rejects(page.send("add"), { code: "full", message: "no more", status: 422 });
  window.fetch = async () => ({ ok: false, status: 401, json: async () => { throw new Error("no JSON"); } });
  await assert.rejects(page.send("add"), { status: 401 });
  assert.deepEqual(seen.expired, [{ reason: "gone" }]);
});

test("through a WebSocket it goes the same way, and is refused when that is lost", async () => {
  const sent = [];
  const { page, fake } = start({ more: { send: (frame) => sent.push(frame) } });
  fake.last.frame(hello());
  const [first, second, third] = [page.send("a"), page.send("b"), page.send("c")];
  fake.last.frame({ t: "answer", id: 2, data: "B" });
  fake.last.frame({ t: "answer", id: 1, error: { code: "no", message: "not that" } });
  assert.equal(await second, "B");
  await assert.rejects(first, { code: "no", message: "not that" });
  fake.last.closed(1006);
  await assert.rejects(third);
  assert.deepEqual(sent.map(({ name }) => name), ["a", "b", "c"]);
});

test("a session that begins in one tab brings the others back", async () => {
  const tab = () => start({}, fakeWindow({ BroadcastChannel: FakeChannel }));
  const [one, two] = [tab(), tab()];
  one.fake.last.closed(401);
  two.fake.last.closed(401);
  one.page.connect();
  one.fake.last.frame(hello());
  await settle();
  assert.equal(two.fake.links.length, 2);
});

test("one connection serves all tabs, and another tab takes over", async () => {
  const locks = new FakeLocks();
  const tab = () => start({ share: true }, fakeWindow({ BroadcastChannel: FakeChannel, navigator: { locks } }));
  const one = tab();
  one.fake.last.frame(hello());
  one.fake.last.frame({ t: "state", rev: 1, data: { n: 1 } });
  const two = tab();
  await settle();
  assert.deepEqual([one.fake.links.length, two.fake.links.length], [1, 0]);
  assert.deepEqual(two.page.state, { n: 1 }, "what the first has");
  one.fake.last.frame({ t: "patch", from: 1, rev: 2, data: { n: 2 } });
  await settle();
  assert.deepEqual(two.page.state, { n: 2 });
  assert.equal(two.page.status, "open");
  assert.equal(await two.page.send("add"), "done");
  one.window.dispatchEvent(new Event("pagehide"));
  await settle();
  assert.equal(two.fake.links.length, 1);
  assert.deepEqual(two.fake.last.resume, { epoch: "e1", rev: 2 });
  two.fake.last.frame(hello({ resumed: true }));
  one.window.dispatchEvent(new Event("pageshow"));
  await settle();
  assert.equal(one.fake.links.length, 1, "the other has it now");
  two.fake.last.frame({ t: "patch", from: 2, rev: 3, data: { n: 3 } });
  await settle();
  assert.deepEqual(one.page.state, { n: 3 });
  two.fake.last.frame({ t: "session_expired", reason: "logout" });
  await settle();
  assert.deepEqual(one.seen.expired, [{ reason: "logout" }]);
});

test("a tab that comes back between the greeting and the first state is open, and gets that", async () => {
  const locks = new FakeLocks();
  const tab = () => start({ share: true }, fakeWindow({ BroadcastChannel: FakeChannel, navigator: { locks } }));
  const one = tab();
  one.fake.last.closed(401);
  const two = tab();
  await settle();
  two.fake.last.frame(hello());
  await settle();
  assert.equal(one.page.status, "open");
  assert.deepEqual(one.seen.status, ["connecting", "expired", "waiting", "open"]);
  two.fake.last.frame({ t: "state", rev: 1, data: 1 });
  await settle();
  assert.equal(one.page.state, 1);
});

// ---- the transports themselves

/** Over real time and a real socket. */
async function serving(handler, work) {
  mock.timers.reset();
  const server = http.createServer(handler).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    await work(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("sse reads a stream in whatever pieces it comes, and says where it was", async () => {
  let asked;
  const text = 'event: hello\ndata: {"t":"hello"}\n\nevent: state\nid: e-1\ndata: {"t":"state","rev":1,"data":"é\\n\\nx"}\n\n';
  await serving(async (request, response) => {
    asked = request.headers;
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const byte of Buffer.from(text)) { response.write(Buffer.of(byte)); await new Promise(setImmediate); }
    response.end();
  }, async (url) => {
    const frames = [];
    const code = await new Promise((closed) => sse(url, { fetch, resume: { epoch: "e", rev: 7 }, frame: (frame) => frames.push(frame), closed }));
    assert.equal(code, 0);
    assert.deepEqual(frames, [{ t: "hello" }, { t: "state", rev: 1, data: "é\n\nx" }]);
    assert.equal(asked["last-event-id"], "e-7");
  });
});

test("sse sees the status, and the network that is gone", async () => {
  const code = (url) => new Promise((closed) => sse(url, { fetch, resume: { rev: 0 }, frame() {}, closed }));
  await serving((_, response) => response.writeHead(503).end(), async (url) => assert.equal(await code(url), 503));
  await serving((request) => request.socket.destroy(), async (url) => assert.equal(await code(url), 1006));
});

test("ws says first where it was, and tells the code of the end", () => {
  const sockets = [];
  class FakeSocket {
    sent = [];
    constructor(url, protocol) { Object.assign(this, { url, protocol }); sockets.push(this); }
    send(text) { this.sent.push(JSON.parse(text)); }
    close() { this.isClosed = true; }
  }
  globalThis.location = new URL("https://shop.example/cart");
  const seen = [];
  const link = ws("/live", { WebSocket: FakeSocket, resume: { epoch: "e", rev: 2 }, frame: (frame) => seen.push(frame), closed: (code) => seen.push(code) });
  const [socket] = sockets;
  assert.deepEqual([socket.url, socket.protocol], ["wss://shop.example/live", "session-process.live.v1"]);
  socket.onopen();
  link.send({ t: "active" });
  assert.deepEqual(socket.sent, [{ t: "resume", epoch: "e", rev: 2 }, { t: "active" }]);
  socket.onmessage({ data: '{"t":"ping"}' });
  socket.onclose({ code: 4401 });
  assert.deepEqual(seen, [{ t: "ping" }, 4401]);
  link.close();
  assert.ok(socket.isClosed);
  delete globalThis.location;
});
