// What a page does with the package, as strict TypeScript sees it. It is compiled, and not run.
import { live, merge, sse, ws, type Live, type Reason, type Status, type Transport } from "session-process-live";

interface Cart { items: string[]; count: number }

const stop = new AbortController();
const page: Live<Cart> = live<Cart>("/live", {
  transport: ws,
  share: true,
  signal: stop.signal,
  target: null,
  onstate: ({ items, count }) => { draw(items.join(), count); },
  onevent: ({ name, data }) => { draw(name, typeof data === "number" ? data : 0); },
  onexpiring: ({ in_ms, kind }) => { draw(kind === "idle" ? "idle" : "absolute", in_ms ?? 0); },
  onexpired: ({ reason }) => { draw(said(reason), 0); },
  onstatus: (status: Status) => { draw(status, 0); },
});

function draw(_text: string, _number: number): void {}

/** All reasons there are: a new one is an error here. */
function said(reason: Reason): string {
  switch (reason) {
    case "idle": case "absolute": case "logout": case "revoked": case "evicted": case "gone": case "none":
      return reason;
    default: {
      const never: never = reason;
      return never;
    }
  }
}

export async function follow(): Promise<number> {
  // There may be none yet.
  const before: number = page.state?.count ?? 0;
  for await (const state of page) draw(state.items[0] ?? "", state.count);
  const answer: unknown = await page.send("add", { item: "tea" });
  await page.send("clear");
  page.active();
  page.connect();
  page.close();
  return before + (typeof answer === "number" ? answer : 0);
}

document.addEventListener("live:state", ({ detail }) => { draw(String(detail), 0); });
document.addEventListener("live:expired", ({ detail: { reason } }) => { draw(said(reason), 0); });
document.addEventListener("live:expiring", ({ detail: { in_ms } }) => { draw("", in_ms ?? 0); });
document.addEventListener("live:event", ({ detail: { name } }) => { draw(name, 0); });
document.addEventListener("live:status", ({ detail }) => { draw(detail satisfies Status, 0); });

/** One's own, over the one that is there. */
export const counted: Transport = (url, handlers) => {
  const link = sse(url, { ...handlers, frame: (frame) => handlers.frame(frame) });
  return { close: () => { link.close(); } };
};

const merged: unknown = merge({ a: 1 }, { a: null });
draw(JSON.stringify(merged), 0);

// Without a type, the state is not known.
const unknown = live("/live");
// @ts-expect-error: it has to be looked at first.
unknown.state.count;
// @ts-expect-error: the state may not be there.
page.state.count;
// @ts-expect-error: nobody but the page sets it.
page.state = { items: [], count: 0 };
// @ts-expect-error: there is no such option.
live("/live", { retry: false });
// @ts-expect-error: a handler of something else.
live<Cart>("/live", { onstate: (state: string) => { draw(state, 0); } });
