// Addresses of pages and what they mean. Pages live behind the hash, so that the server serves one document and links can be
// shared: `#/camera/gate?t=…`. Pure.

import type { Millis } from "./api";

export type Route =
  | { page: "wall" }
  | { page: "camera"; name: string; at: Millis | undefined }
  | { page: "alerts"; stream: string | undefined }
  | { page: "targets" }
  | { page: "connection" }
  | { page: "add" };

export function parseRoute(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean);
  const params = new URLSearchParams(search);
  switch (parts[0]) {
    case "camera": {
      const t = Number(params.get("t") ?? NaN);
      return parts[1] ? { page: "camera", name: safeDecode(parts[1]), at: Number.isFinite(t) ? t : undefined } : { page: "wall" };
    }
    case "alerts":
      return { page: "alerts", stream: params.get("camera") ?? undefined };
    case "targets":
      return { page: "targets" };
    case "connection":
      return { page: "connection" };
    case "add":
      return { page: "add" };
    default:
      return { page: "wall" };
  }
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const hrefTo = {
  wall: "#/",
  add: "#/add",
  targets: "#/targets",
  connection: "#/connection",
  alerts: (stream?: string) => (stream ? `#/alerts?camera=${encodeURIComponent(stream)}` : "#/alerts"),
  camera: (name: string, at?: Millis) => `#/camera/${encodeURIComponent(name)}${at === undefined ? "" : `?t=${Math.round(at)}`}`,
};
