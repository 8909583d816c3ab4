/** Why a session ended. `gone`: it was not there when the page came back; `none`: there was none to begin with. */
export type Reason = "idle" | "absolute" | "logout" | "revoked" | "evicted" | "gone" | "none";

/**
 * `connecting`, `open`; `waiting` for the next try; `expired`: the session is over, until `connect()` or another tab
 * finds one; `closed`: for good.
 */
export type Status = "connecting" | "open" | "waiting" | "expired" | "closed";

export interface Event { name: string; data: unknown }

/**
 * How long until the session expires, told again when that changes; `null`: somebody used it, and it doesn't expire soon
 * any more.
 */
export interface Expiring { in_ms: number | null; kind: "idle" | "absolute" }

export interface Link {
  close(): void;
  /** Where frames go up on the same connection. */
  send?(frame: object): void;
}

export interface Handlers {
  fetch: typeof fetch;
  WebSocket: typeof WebSocket;
  resume: { epoch?: string; rev: number };
  frame(frame: object): void;
  /** A status of HTTP or a code of a WebSocket; 0: the stream ended. */
  closed(code: number): void;
}

export type Transport = (url: string, handlers: Handlers) => Link;

export interface Options<State> {
  /** `sse` (the default) or `ws`; or one's own. */
  transport?: Transport;
  /**
   * One connection for all tabs of this origin, where the browser has Web Locks: browsers allow about six to a host
   * over HTTP/1.1. The tab that has it keeps it up also while it is hidden, since others show what comes.
   */
  share?: boolean;
  /** Closes for good. */
  signal?: AbortSignal;
  /** Where the DOM events `live:state`, `live:event`, `live:expiring`, `live:expired`, `live:status` are dispatched. Default: the document. */
  target?: EventTarget | null;
  onstate?(state: State): void;
  onevent?(event: Event): void;
  onexpiring?(expiring: Expiring): void;
  onexpired?(expired: { reason: Reason }): void;
  onstatus?(status: Status): void;
  /** For tests: `document`, `navigator`, `fetch`, `WebSocket` and `BroadcastChannel` are taken from it. */
  window?: object;
  /** For tests: of the waits between tries. */
  random?(): number;
}

export interface Live<State> extends AsyncIterable<State> {
  /** The newest, or `undefined` before there is one. */
  readonly state: State | undefined;
  readonly status: Status;
  /** Tries again after the session has ended: somebody has signed in. */
  connect(): void;
  close(): void;
  /** Somebody is there. Keys and the pointer say so by themselves; at most one in 30 s is sent. */
  active(): void;
  /**
   * Sends the process a message.
   * @throws an `Error` with `code`, and `status` where it went by POST. `conflict`: another node was ahead, and nothing of
   * it is in the session; send it again.
   */
  send(name: string, data?: unknown): Promise<unknown>;
}

/** Server-sent events, read by `fetch`: an `EventSource` hides the status of the answer. */
export declare const sse: Transport;
/** A WebSocket. */
export declare const ws: Transport;
/** RFC 7396. */
export declare function merge(target: unknown, patch: unknown): unknown;
/**
 * Follows the state of the session at `url`.
 *
 * It comes back by itself, after a random wait that grows from 0.5 s to 30 s; at once when the page is seen again or the
 * network is back, and not while the page is hidden. It is silent while the page is frozen or in the browser's cache
 * for "back", from which an open connection would keep it. Where patches leave a gap it asks for the whole state.
 */
export declare function live<State = unknown>(url: string, options?: Options<State>): Live<State>;

declare global {
  interface DocumentEventMap {
    "live:state": CustomEvent<unknown>;
    "live:event": CustomEvent<Event>;
    "live:expiring": CustomEvent<Expiring>;
    "live:expired": CustomEvent<{ reason: Reason }>;
    "live:status": CustomEvent<Status>;
  }
}
