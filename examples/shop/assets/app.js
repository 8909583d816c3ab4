// The pages of the shop. All text goes in by `textContent`: nothing that a user typed becomes markup.
"use strict";

const $ = (id) => document.getElementById(id);
const euros = (cents) => "€" + (cents / 100).toFixed(2);

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, 4000);
}

// How often a request is repeated that another node was ahead of: nothing of it has happened.
const REPEATS = 5;

async function api(method, path, body, repeats = REPEATS) {
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
async function run(button, action) {
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    toast(error.status ? error.message : "The shop can't be reached.");
  } finally {
    button.disabled = false;
  }
}

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

// Answers can overtake each other; one that was asked for before a later one has been shown is old.
let asked = 0;
let shown = 0;
let last = "";

async function cart(method, path = "/cart", body = undefined) {
  const turn = ++asked;
  const answer = await api(method, path, body);
  if (turn < shown) return;
  shown = turn;
  // Signed in or out in another tab.
  if (answer.user !== user()) return location.reload();
  const text = JSON.stringify(answer);
  if (text !== last) show(answer);
  last = text;
}

function show({ items, count, total_cents, gift_wrap }) {
  const quantities = new Map();
  for (const item of items) quantities.set(item, (quantities.get(item) ?? 0) + 1);
  $("lines").replaceChildren(...[...quantities].map(([item, quantity]) => {
    const { name, cents } = document.querySelector(`.card[data-item="${CSS.escape(item)}"]`).dataset;
    const less = make("button", { type: "button", className: "quiet", textContent: "−", ariaLabel: `One ${name} less` });
    const more = make("button", { type: "button", className: "quiet", textContent: "+", ariaLabel: `One ${name} more` });
    less.addEventListener("click", () => run(less, () => cart("DELETE", `/cart/${encodeURIComponent(item)}`)));
    more.addEventListener("click", () => run(more, () => cart("POST", "/cart", { item })));
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
  const link = document.querySelector(".to-cart");
  link.hidden = false;
  link.textContent = `Cart (${count})`;
}

if ($("cart")) {
  for (const button of document.querySelectorAll("[data-add]")) {
    button.addEventListener("click", () => run(button, () => cart("POST", "/cart", { item: button.dataset.add })));
  }
  // By its name, to the slice that it is for.
  $("gift-wrap").addEventListener("change", ({ target }) =>
    run(target, () => cart("POST", "/actions", { name: "preferences.gift_wrap", payload: target.checked }))
      .then(() => { if (last) target.checked = JSON.parse(last).gift_wrap; }));
  // What the house tells everybody.
  api("GET", "/news").then(({ taken, just_taken: item }) => {
    const card = item && document.querySelector(`.card[data-item="${CSS.escape(item)}"]`);
    if (!card) return;
    $("just-taken").textContent = `Just put into a cart: ${card.dataset.name} (${taken[item]} so far).`;
    $("just-taken").hidden = false;
  }).catch(() => {});
  // Asking again and again stands in for live pages, which will be told of each change instead; asking keeps the
  // session alive, which an open page by itself should not.
  const refresh = () => { if (document.visibilityState === "visible") cart("GET").catch(() => {}); };
  setInterval(refresh, 2000);
  addEventListener("focus", refresh);
  document.addEventListener("visibilitychange", refresh);
  refresh();
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
      if (session.current) location.reload(); else await list();
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
