// Live pages of session-process: types and documentation are in live.d.ts.

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export const sse = (url, { fetch, resume: { epoch, rev }, frame, closed }) => {
  const abort = new AbortController();
  const read = async () => {
    const headers = epoch ? { "last-event-id": `${epoch}-${rev}` } : {};
    const response = await fetch(url, { headers, cache: "no-store", signal: abort.signal });
    if (!response.ok) return response.status;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return 0;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) frame(JSON.parse(event.slice(event.indexOf("data: ") + 6)));
    }
  };
  read().catch(() => 1006).then(closed);
  return { close: () => abort.abort() };
};

export const ws = (url, { WebSocket, resume, frame, closed }) => {
  const socket = new WebSocket(new URL(url, location).href.replace(/^http/, "ws"), "session-process.live.v1");
  const send = (up) => socket.send(JSON.stringify(up));
  socket.onopen = () => send({ t: "resume", ...resume });
  socket.onmessage = ({ data }) => frame(JSON.parse(data));
  socket.onclose = ({ code }) => closed(code);
  return { send, close: () => socket.close() };
};

export function merge(target, patch) {
  if (!isObject(patch)) return patch;
  const merged = new Map(Object.entries(isObject(target) ? target : {}));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key); else merged.set(key, merge(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

export function live(url, options) {
  const { window = globalThis, transport = sse, random = Math.random, ...o } = options ?? {};
  const { document, WebSocket, BroadcastChannel } = window;
  const { signal, target = document } = o;
  const locks = window.navigator?.locks;
  const fetch = (...request) => window.fetch(...request);
  const channel = document && BroadcastChannel && new BroadcastChannel("live:" + url);
  const share = o.share && locks && channel;
  const off = new AbortController();
  const pending = new Map();
  let state, epoch, rev = 0, version = 0, ids = 0;
  let status = "waiting", link, lead, retry, watch, since = 0, tries = 0, after = 0, grace = 0, heartbeat = 15000, active = -1e9;
  let wake, changed;
  const isOver = () => status === "expired" || status === "closed";
  const tell = (frame) => channel?.postMessage(frame);

  function notify() {
    wake?.();
    changed = new Promise((resolve) => { wake = resolve; });
  }
  notify();

  function emit(type, detail) {
    o["on" + type]?.(detail);
    target?.dispatchEvent(new CustomEvent("live:" + type, { detail }));
  }

  function turn(to, detail) {
    if (status === to || status === "closed") return;
    status = to;
    if (isOver()) leave();
    emit("status", to);
    if (detail) emit("expired", detail);
    notify();
  }

  function drop() {
    clearTimeout(retry);
    clearTimeout(watch);
    const old = link;
    link = undefined;
    old?.close?.();
    for (const { reject } of pending.values()) reject(new Error("lost"));
    pending.clear();
  }

  function leave() {
    drop();
    lead?.abort();
    lead = undefined;
  }

  // One connection for all tabs: that of the tab which has the lock.
  function enter() {
    if (!share) return connect();
    if (lead || isOver()) return;
    const mine = lead = new AbortController();
    tell({ t: "whole" });
    locks.request("live:" + url, { signal: mine.signal }, () => new Promise((done) => {
      if (mine.signal.aborted) return done();
      mine.signal.addEventListener("abort", done);
      mine.has = true;
      connect();
    })).catch(() => {});
  }

  function connect() {
    if (link || isOver() || (share && !lead?.has) || (since && !share && document?.hidden)) return;
    clearTimeout(retry);
    since = Date.now();
    turn("connecting");
    const mine = link = {};
    const heard = () => {
      clearTimeout(watch);
      watch = setTimeout(closed, 2 * heartbeat, 4408);
    };
    heard();
    Object.assign(mine, transport(url, {
      fetch, WebSocket, resume: { epoch, rev },
      closed: (code) => link === mine && closed(code),
      frame(frame) {
        if (link !== mine) return;
        if (share) tell(frame);
        take(frame);
        if (link) heard();
      },
    }));
  }

  function closed(code) {
    drop();
    if ([401, 410, 4401].includes(code) && !grace--) return gone();
    if ([403, 404, 1000, 1008, 4400, 4403, 4406].includes(code)) return turn("closed");
    if (Date.now() - since > 10000) tries = 0;
    const least = [429, 1013, 4429].includes(code) ? 5000 : after;
    after = 0;
    turn("waiting");
    retry = setTimeout(connect, least + random() * Math.min(500 * 2 ** tries++, 30000));
  }

  function gone() {
    const frame = { t: "session_expired", reason: epoch ? "gone" : "none" };
    if (share) tell(frame);
    take(frame);
  }

  function take(frame) {
    const { t, data } = frame;
    if (t === "hello") {
      ({ epoch, heartbeat_ms: heartbeat } = frame);
      grace = 0;
      if (!frame.resumed) rev = 0;
      if (link) tell({ t: "up" });
      turn("open");
    } else if (t === "patch" && frame.from !== rev) {
      epoch = undefined;
      if (link) closed(0); else tell({ t: "whole" });
    } else if (t === "state" || t === "patch") {
      state = t === "state" ? data : merge(state, data);
      ({ rev } = frame);
      version++;
      emit("state", state);
      notify();
    } else if (t === "event" || t === "expiring") {
      emit(t, frame);
    } else if (t === "session_expired") {
      turn("expired", { reason: frame.reason });
    } else if (t === "reconnect") {
      after = frame.after_ms;
      // The cookie with the new id may still be on its way.
      if (frame.reason === "moved") grace = 3;
    } else if (t === "answer") {
      const answer = pending.get(frame.id);
      pending.delete(frame.id);
      if (frame.error) answer?.reject(Object.assign(new Error(), frame.error)); else answer?.resolve(data);
    }
  }

  async function post(frame) {
    const response = await fetch(url, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(frame),
    });
    const { data, error } = await response.json().catch(() => ({}));
    if (response.status === 401) gone();
    if (!response.ok) throw Object.assign(new Error(), error, { status: response.status });
    return data;
  }

  function again() {
    if (status === "expired") turn("waiting");
    since = tries = 0;
    enter();
  }

  if (channel) channel.onmessage = ({ data: frame }) => {
    if (frame.t === "up") {
      if (status === "expired") again();
    } else if (frame.t === "whole") {
      if (!link || status !== "open") return;
      tell({ t: "hello", epoch, heartbeat_ms: heartbeat });
      if (version) tell({ t: "state", rev, data: state });
    } else if (share && !isOver() && (!link || status !== "open")) {
      take(frame);
    }
  };

  const on = (of, type, listener) => of?.addEventListener?.(type, listener, { signal: off.signal });
  const hurry = () => {
    tries = 0;
    connect();
  };
  on(document, "visibilitychange", hurry);
  on(window, "online", hurry);
  for (const [of, away, back] of [[window, "pagehide", "pageshow"], [document, "freeze", "resume"]]) {
    on(of, away, leave);
    on(of, back, () => { since = 0; enter(); });
  }
  const me = {
    get state() { return state; },
    get status() { return status; },
    connect: again,
    close() {
      turn("closed");
      off.abort();
      channel?.close();
    },
    active() {
      if (status !== "open" || Date.now() - active < 30000) return;
      active = Date.now();
      if (link?.send) link.send({ t: "active" }); else post({ t: "active" }).catch(() => {});
    },
    send(name, data = null) {
      const frame = { t: "send", id: ++ids, name, data };
      if (!link?.send || status !== "open") return post(frame);
      return new Promise((resolve, reject) => {
        pending.set(frame.id, { resolve, reject });
        link.send(frame);
      });
    },
    async *[Symbol.asyncIterator]() {
      for (let seen = 0; ;) {
        if (version > seen) {
          seen = version;
          yield state;
        } else if (isOver()) return; else await changed;
      }
    },
  };
  on(document, "pointerdown", me.active);
  on(document, "keydown", me.active);
  on(signal, "abort", me.close);
  if (signal?.aborted) me.close(); else enter();
  return me;
}
