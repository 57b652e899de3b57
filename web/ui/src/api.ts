// The native REST API as the page sees it: wire types only, no behaviour. Times are integer milliseconds since the Unix epoch.

export type Millis = number;

export interface ApiErrorBody {
  error: { code: string; message: string };
}

export interface Server {
  version: string;
  now_ms: Millis;
  started_at_ms: Millis;
}

/** Where STUN and TURN are, with credentials for a test; without TURN no URIs. */
export interface IceTestServers {
  uris: string[];
  username?: string;
  password?: string;
  ttl_s?: number;
}

export type Transport = "tcp" | "udp";

export interface Failure {
  code: string;
  message: string;
}

export type CameraStatus =
  | { state: "disabled" }
  | { state: "connecting"; since: Millis }
  | { state: "live"; since: Millis; clock: "sender_reports" | "arrival" | string; via: string }
  | { state: "failed"; since: Millis; reason: Failure; retry_at: Millis }
  /** Of a stream without a camera (the page's own, the API has none): a producer pushes to it, or none does. */
  | { state: "receiving" }
  | { state: "silent"; last: Millis | undefined };

export interface Camera {
  name: string;
  url: string;
  username?: string | null;
  has_password: boolean;
  transport: Transport;
  enabled: boolean;
  /** Stands in the config file: the API cannot change it. */
  from_config: boolean;
  status: CameraStatus;
  bitrate_bps: number;
  fps: number;
  key_interval_ms?: number | null;
  /** Such as `avc1.64001f 1280x720 · mp4a.40.2`. */
  description?: string | null;
  has_b_frames: boolean;
  reconnects: number;
  dropped_gops: number;
  last_commit_at?: Millis | null;
  /** What its stream keeps (the page puts it here); absent while there is no stream. */
  kept?: Kept | undefined;
}

/** What happens where a limit is reached: the oldest make room, or what is new is refused. */
export type AtQuota = "evict" | "refuse";

/** What a stream keeps, and may keep. */
export interface Kept {
  /** null is for ever, 0 no archive. */
  retention_hours: number | null;
  bytes: number;
  /** The limit in force; null: none. */
  quota_bytes: number | null;
  at_quota: AtQuota;
  guaranteed_bytes: number;
  refusing: boolean;
  /** Fragments, since the server started. */
  refused: number;
}

/** What is to be changed of it; what is absent stays, null takes what is configured (of `retention_hours`: for ever). */
export interface KeptChange {
  retention_hours?: number | null | undefined;
  quota_bytes?: number | null | undefined;
  at_quota?: AtQuota | null | undefined;
}

/** What all streams keep together. */
export interface StoreUsage {
  bytes: number;
  quota_bytes: number | null;
  free_bytes: number | null;
  refusing: boolean;
}

/** What is recorded under a name, whoever brings it. */
export interface Stream extends Kept {
  name: string;
  bitrate_bps: number;
  fps: number;
  key_interval_ms?: number | null;
  description?: string | null;
  has_b_frames: boolean;
  dropped_gops: number;
  last_commit_at?: Millis | null;
}

export interface NewCamera {
  name: string;
  url: string;
  username?: string;
  password?: string;
  transport?: Transport;
}

export interface Probe {
  video: string;
  width: number;
  height: number;
  fps: number;
  key_interval_ms?: number | null;
  has_b_frames: boolean;
  audio?: string | null;
  remarks: string[];
}

export type ProbeAnswer = { found: Probe } | { failure: Failure };

/** Why a run of fragments does not continue what came before it. */
export type Cause =
  | "start"
  | "server_stopped"
  | "source_lost"
  | "source_stopped"
  | "time_jump"
  | "packet_loss"
  | "overload"
  | "fragment_too_long"
  | "producer_pause"
  | "damaged";

export interface Span {
  start: Millis;
  end: Millis;
  fragments: number;
  bytes: number;
  cause?: Cause | null;
}

export interface Gap {
  start: Millis;
  end: Millis;
  cause?: Cause | null;
}

export interface Timeline {
  now: Millis;
  spans: Span[];
  gaps: Gap[];
  /** Where to go on, when there were more spans than one answer holds. */
  next?: Millis | null;
}

/** Corners in 0–1 of width and height: left, top, right, bottom. */
export type Bounds = [number, number, number, number];

export interface Detection {
  fragment: string;
  offset_ms: number;
  time: Millis;
  class: string;
  score: number;
  bounds: Bounds;
}

export type DeliveryState = "pending" | "delivered" | "dead";

export interface Delivery {
  id: number;
  alert: string;
  target: string;
  state: DeliveryState;
  attempts: number;
  created_at: Millis;
  next_at: Millis;
  last_error?: string | null;
}

export interface Alert {
  id: string;
  rule: string;
  stream: string;
  detection: Detection;
  raised_at: Millis;
  deliveries?: Delivery[];
}

export type Rate = "key_frames" | { per_second: number };

export type Corner = [number, number];

export interface Rule {
  name: string;
  stream: string;
  /** Empty: every class. */
  classes: string[];
  min_score: number;
  /** Empty: the whole picture. A box is inside when its bottom-centre point is. */
  zone: Corner[];
  cooldown_ms: number;
  rate: Rate;
  targets: string[];
  from_config?: boolean;
}

export interface Target {
  name: string;
  url: string;
  allow_local: boolean;
  from_config?: boolean;
}

export interface NewTarget {
  name: string;
  url: string;
  secret: string;
  allow_local: boolean;
}

/** What `GET /v1/events` sends, by event name. */
export interface ServerEvents {
  fragment: { stream: string; number: string; producer_start: Millis; duration_ms: number; bytes: number; crc32c: number | null };
  detections: { stream: string; detections: Detection[] };
  alert: Alert;
  cameras: unknown;
  rules: unknown;
  targets: unknown;
  deliveries: unknown;
  streams: unknown;
}
