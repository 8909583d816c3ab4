// The pages of the shop. All text goes in by `textContent`: nothing that a user typed becomes markup.
import { live, sse, ws } from "/live.js";

export const $ = (id) => document.getElementById(id);
const euros = (cents) => "€" + (cents / 100).toFixed(2);

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

let toastTimer;
export function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, 4000);
}

// How often a request is repeated that another node was ahead of: nothing of it has happened.
const REPEATS = 5;

export async function api(method, path, body, repeats = REPEATS) {
  const options = { method, cache: "no-store" };
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch("/api" + path, options);
  const answer = response.status === 204 ? null : await response.json();
  if (response.status === 409 && answer.error === "repeat" && repeats > 0) {
    // By chance, so that two pages don't meet again and again.
    await new Promise((done) => { setTimeout(done, Math.random() * 50); });
    return api(method, path, body, repeats - 1);
  }
  if (!response.ok) {
    throw Object.assign(new Error(answer.message), { status: response.status });
  }
  return answer;
}

// Runs what a click asks for, and says so if that fails.
export async function run(button, action) {
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    toast(error.status ? error.message : "The shop can't be reached.");
  } finally {
    button.disabled = false;
  }
}

// ---- the session, live

const ENDS = {
  idle: ["You were away for a while", "Nothing happened for so long that this session has ended."],
  absolute: ["This session has become too old", "Sessions end after a while, however much they are used."],
  logout: ["You have signed out", "In this tab, or in another one."],
  revoked: ["This session was ended", "From another browser in which you are signed in."],
  evicted: ["This session made room for another", "You are signed in in too many browsers."],
  gone: ["This session has ended", "It was over when this page came back."],
};

export const transport = new URLSearchParams(location.search).has("ws") ? ws : sse;

let begun = false;

// `?ws` for a WebSocket. One connection for all tabs, since browsers allow six to a server.
const page = live("/live", {
  transport,
  share: true,
  onstate: cart,
  onevent({ name, data }) {
    if (name === "sessions" && $("sessions")) list();
    if (name === "taken" && $("just-taken")) taken(data);
  },
  onexpiring({ in_ms }) {
    $("expiring").hidden = in_ms === null;
    if (in_ms !== null) $("expiring").textContent = `This session ends in ${Math.round(in_ms / 1000)} seconds, unless you do something.`;
  },
  onexpired({ reason }) {
    if (reason !== "none") return ended(reason);
    // It was asked for before the first action began a session, and answered after it.
    if (begun) page.connect();
    begun = false;
  },
  onstatus(status) {
    document.documentElement.dataset.live = status;
    if ($("status")) $("status").textContent = { open: "Live", connecting: "Connecting …", waiting: "Offline: trying again" }[status] ?? "";
  },
});

function ended(reason) {
  const [title, text] = ENDS[reason] ?? ENDS.gone;
  $("expiring").hidden = true;
  // Nothing private stays on the page, nor anything to act with.
  document.querySelectorAll("main, .columns").forEach((element) => element.remove());
  $("ended-title").textContent = title;
  $("ended-text").textContent = text;
  $("ended").dataset.reason = reason;
  $("ended").hidden = false;
}

// A page from the browser's cache may show what was before a logout.
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
$("again").addEventListener("click", () => location.reload());

// ---- account

const user = () => $("user")?.textContent ?? null;

$("login")?.addEventListener("submit", (event) => {
  event.preventDefault();
  run(event.submitter ?? event.target.querySelector("button"), async () => {
    await api("POST", "/login", { name: $("name").value });
    location.reload();
  });
});

$("logout")?.addEventListener("click", (event) => run(event.target, async () => {
  await api("POST", "/logout");
  location.reload();
}));

// ---- cart

let shown = null;

function cart(state) {
  if (!$("ended").hidden) return;
  // Signed in or out in another tab, where the page shows that.
  const showsUser = $("user") || $("login");
  if (showsUser && state.user !== user()) return location.reload();
  shown = state;
  const link = document.querySelector(".to-cart");
  link.hidden = false;
  link.textContent = `Cart (${state.count})`;
  if ($("cart")) show(state);
}

async function act(method, path, body) {
  const answer = await api(method, path, body);
  // Its first action begins a session; from then on the state comes by itself.
  begun = page.status === "connecting";
  if (page.status === "expired") page.connect();
  if (page.status !== "open") cart(answer);
}

function show({ items, count, total_cents, gift_wrap }) {
  const quantities = new Map();
  for (const item of items) quantities.set(item, (quantities.get(item) ?? 0) + 1);
  $("lines").replaceChildren(...[...quantities].map(([item, quantity]) => {
    const { name, cents } = document.querySelector(`.card[data-item="${CSS.escape(item)}"]`).dataset;
    const less = make("button", { type: "button", className: "quiet", textContent: "−", ariaLabel: `One ${name} less` });
    const more = make("button", { type: "button", className: "quiet", textContent: "+", ariaLabel: `One ${name} more` });
    less.addEventListener("click", () => run(less, () => act("DELETE", `/cart/${encodeURIComponent(item)}`)));
    more.addEventListener("click", () => run(more, () => act("POST", "/cart", { item })));
    return make("li", {},
      make("span", { className: "what" }, name, make("small", { textContent: euros(cents * quantity) })),
      make("span", { className: "step" }, less, String(quantity), more));
  }));
  $("count").textContent = count;
  $("empty").hidden = count > 0;
  $("sum").hidden = count === 0;
  $("wrap").hidden = count === 0;
  $("gift-wrap").checked = gift_wrap;
  $("total").textContent = euros(total_cents);
}

// What the house tells everybody.
function taken({ taken, just_taken: item }) {
  const card = item && document.querySelector(`.card[data-item="${CSS.escape(item)}"]`);
  if (!card) return;
  $("just-taken").textContent = `Just put into a cart: ${card.dataset.name} (${taken[item]} so far).`;
  $("just-taken").hidden = false;
}

if ($("cart")) {
  for (const button of document.querySelectorAll("[data-add]")) {
    button.addEventListener("click", () => run(button, () => act("POST", "/cart", { item: button.dataset.add })));
  }
  // By its name, to the slice that it is for.
  $("gift-wrap").addEventListener("change", ({ target }) =>
    run(target, () => act("POST", "/actions", { name: "preferences.gift_wrap", payload: target.checked }))
      .then(() => { if (shown) target.checked = shown.gift_wrap; }));
  api("GET", "/news").then(taken).catch(() => {});
}

// ---- sessions

async function list() {
  let answer;
  try {
    answer = await api("GET", "/sessions");
  } catch (error) {
    $("signed-out").hidden = error.status !== 401;
    $("sessions").replaceChildren();
    $("end-others").hidden = true;
    if (error.status !== 401) toast(error.message);
    return;
  }
  $("end-others").hidden = answer.sessions.every((session) => session.current);
  const when = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  $("sessions").replaceChildren(...answer.sessions.map((session) => {
    const end = make("button", { type: "button", className: "quiet", textContent: session.current ? "Sign out" : "End" });
    end.addEventListener("click", () => run(end, async () => {
      await api("DELETE", `/sessions/${encodeURIComponent(session.handle)}`);
      if (session.current) location.reload();
    }));
    const title = make("strong", { textContent: session.device });
    const what = make("div", { className: "what" }, title, " ", make("code", { textContent: session.handle }),
      make("small", { textContent: `Since ${when(session.started)} · last used ${when(session.last_used)}` }));
    return make("li", {}, what, session.current ? make("span", { className: "badge", textContent: "this one" }) : "", end);
  }));
}

if ($("sessions")) {
  const others = $("end-others");
  others.addEventListener("click", () => run(others, async () => {
    const { ended } = await api("DELETE", "/sessions/others");
    toast(ended === 1 ? "Signed out in 1 other browser." : `Signed out in ${ended} other browsers.`);
    await list();
  }));
  list();
}
