// What happened in one's own session, live. All text goes in by `textContent`.
import { live } from "/live.js";
import { $, api, make, run, toast, transport } from "/app.js";

let timeline = null;

const moment = () => timeline.moments.find(({ position }) => position === timeline.position);
const short = (value) => value === undefined ? "nothing" : JSON.stringify(value);

// {"cart": {"add": "mug"}} is cart.add of "mug".
function named(cause) {
  if (typeof cause === "string") return [cause === "base" ? "as it was" : cause, undefined];
  const words = [];
  let rest = cause.action;
  while (words.length < 2 && rest && typeof rest === "object" && Object.keys(rest).length === 1) {
    const [word] = Object.keys(rest);
    words.push(word);
    rest = rest[word];
  }
  if (words.length < 2 && typeof rest === "string") return [[...words, rest].join("."), undefined];
  return [words.join(".") || "action", rest];
}

function draw() {
  $("nothing").hidden = timeline !== null;
  $("travel").hidden = $("details").hidden = timeline === null;
  $("moments").replaceChildren();
  if (!timeline) return;
  const { moments, position } = timeline;
  $("slider").min = moments[0].position;
  $("slider").max = moments.at(-1).position;
  $("slider").value = position;
  $("back").disabled = position === moments[0].position;
  $("forward").disabled = position === moments.at(-1).position;
  $("where").textContent = `${position} of ${moments.at(-1).position}`;
  for (const { position: at, at: micros, cause } of moments.toReversed()) {
    const [name, payload] = named(cause);
    const what = make("span", {}, name, payload === undefined ? "" : make("span", { className: "payload", textContent: short(payload) }));
    const time = micros === null ? "" : make("time", { textContent: new Date(micros / 1000).toLocaleTimeString() });
    const button = make("button", { type: "button" }, make("span", { className: "number", textContent: at }), what, time);
    if (at === position) button.setAttribute("aria-current", "step");
    button.addEventListener("click", () => run(button, () => travel(at)));
    $("moments").append(make("li", { className: at === position ? "here" : at > position ? "undone" : "" }, button));
  }
  const here = moment();
  $("changes").replaceChildren(...here.changes.map(({ path, before, after }) => make("li", {},
    make("code", { textContent: path || "all of it" }), " ",
    make("del", { textContent: short(before) }), " → ", make("ins", { textContent: short(after) }))));
  if (here.changes.length === 0) $("changes").append(make("li", { className: "note", textContent: "Nothing." }));
  $("state").textContent = JSON.stringify(here.state, null, 2);
}

async function travel(position) {
  await api("POST", "/developer/travel", { position });
}

// While the slider moves, one request at a time, and then the latest.
let wanted = null;
let travelling = false;
$("slider").addEventListener("input", async ({ target }) => {
  wanted = Number(target.value);
  if (travelling) return;
  travelling = true;
  try {
    while (wanted !== null) {
      const next = wanted;
      wanted = null;
      await travel(next);
    }
  } catch (error) {
    toast(error.status ? error.message : "The shop can't be reached.");
  } finally {
    travelling = false;
  }
});
$("back").addEventListener("click", ({ target }) => run(target, () => travel(timeline.position - 1)).then(draw));
$("forward").addEventListener("click", ({ target }) => run(target, () => travel(timeline.position + 1)).then(draw));

live("/live/developer", {
  transport,
  target: null,
  onstate(state) {
    timeline = state;
    // The slider is where the finger is.
    const slider = $("slider").value;
    draw();
    if (travelling) $("slider").value = slider;
  },
  onexpired() {
    if ($("ended").hidden) draw();
  },
});
