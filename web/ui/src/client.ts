// Calls to the REST API. Every failure becomes an `ApiError` whose message can be shown as it is.

import type {
  Alert, ApiErrorBody, Camera, Delivery, Detection, IceTestServers, KeptChange, Millis, NewCamera, NewTarget, ProbeAnswer, Rule, Server, StoreUsage, Stream, Target,
  Timeline,
} from "./api";

/** A call that did not succeed. `status` is 0 when the server was not reached at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** The sentence to show for whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Reads the reason out of an unsuccessful response. */
export async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text) as ApiErrorBody;
    return new ApiError(response.status, error.code, error.message);
  } catch {
    return new ApiError(response.status, "http", text.slice(0, 200) || `The server answered ${response.status}.`);
  }
}

/** A fetch that signs out (loads the sign-in page) when the session has ended. */
export async function request(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (thrown) {
    if (init?.signal?.aborted) throw thrown;
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
  if (response.status === 401) {
    location.assign("/");
    throw new ApiError(401, "unauthorized", "The session has ended. Sign in again.");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { headers: { accept: "application/json" }, signal: signal ?? null });
  return (await response.json()) as T;
}

async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    init.headers = { accept: "application/json", "content-type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const response = await request(path, init);
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

const name = encodeURIComponent;

/** A query string of what is defined, with its question mark. */
export function query(values: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined);
  return pairs.length === 0 ? "" : "?" + pairs.map(([key, value]) => `${key}=${encodeURIComponent(String(value))}`).join("&");
}

/** Most rows that one page of a listing asks for. */
export const PAGE = 5000;

export const api = {
  server: () => get<Server>("/v1/server"),
  iceTest: () => send<IceTestServers>("POST", "/v1/ice-test", {}),
  signOut: () => send<void>("DELETE", "/v1/session"),

  cameras: async () => (await get<{ cameras: Camera[] }>("/v1/cameras")).cameras,
  addCamera: (camera: NewCamera) => send<Camera>("POST", "/v1/cameras", camera),
  deleteCamera: (camera: string) => send<void>("DELETE", `/v1/cameras/${name(camera)}`),
  enableCamera: (camera: string, enabled: boolean) => send<Camera>("PATCH", `/v1/cameras/${name(camera)}`, { enabled }),
  probe: (camera: Omit<NewCamera, "name">) => send<ProbeAnswer>("POST", "/v1/cameras/probe", camera),

  streams: async () => (await get<{ streams: Stream[] }>("/v1/streams")).streams,
  /** How long and how much is kept. */
  changeKept: (stream: string, change: KeptChange) => send<unknown>("PATCH", `/v1/streams/${name(stream)}`, change),
  storage: () => get<StoreUsage>("/v1/storage"),
  deleteStream: (stream: string) => send<void>("DELETE", `/v1/streams/${name(stream)}`),

  timeline: (stream: string, from: Millis, to: Millis, signal?: AbortSignal) =>
    get<Timeline>(`/v1/streams/${name(stream)}/timeline${query({ from: Math.floor(from), to: Math.ceil(to) })}`, signal),
  detections: async (stream: string, from: Millis, to: Millis, signal?: AbortSignal) => {
    const path = `/v1/streams/${name(stream)}/detections${query({ from: Math.floor(from), to: Math.ceil(to), limit: PAGE })}`;
    return (await get<{ detections: Detection[] }>(path, signal)).detections;
  },

  alerts: async (options: { stream?: string; before?: string; limit?: number; from?: Millis; to?: Millis }, signal?: AbortSignal) =>
    (await get<{ alerts: Alert[] }>(`/v1/alerts${query(options)}`, signal)).alerts,
  alert: (id: string) => get<Alert>(`/v1/alerts/${name(id)}`),
  redrive: (delivery: number) => send<Delivery | undefined>("POST", `/v1/deliveries/${delivery}/redrive`),

  rules: async () => (await get<{ rules: Rule[] }>("/v1/rules")).rules,
  /** Adds a rule, or replaces the one of its name. */
  saveRule: ({ from_config: _, ...rule }: Rule) => send<Rule>("POST", "/v1/rules", rule),
  deleteRule: (rule: string) => send<void>("DELETE", `/v1/rules/${name(rule)}`),

  targets: async () => (await get<{ targets: Target[] }>("/v1/targets")).targets,
  saveTarget: (target: NewTarget) => send<Target>("POST", "/v1/targets", target),
  deleteTarget: (target: string) => send<void>("DELETE", `/v1/targets/${name(target)}`),
};

/** Where a stream's HLS playlist is: the live edge, or a window of the past. */
export function playlistUrl(stream: string, window?: { from: Millis; to: Millis }): string {
  return `/v1/streams/${name(stream)}/hls/index.m3u8${window ? query({ from: window.from, to: window.to }) : ""}`;
}

/** Where the picture of an alert is. */
export function snapshotUrl(alert: string): string {
  return `/v1/alerts/${name(alert)}/snapshot.jpg`;
}

/** Where WHEP offers for a stream go. */
export function whepUrl(stream: string): string {
  return `/v1/streams/${name(stream)}/whep`;
}
