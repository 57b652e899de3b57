// Which ways to the server's STUN and TURN work from this browser, each tried alone: `vidicon ice-test` for people behind the same walls as their
// browser.

import type { IceTestServers } from "../api";

/** A way that is tried. */
export type Way = "udp" | "udp_relay" | "tcp_relay" | "tls_relay";

export const WAYS: readonly Way[] = ["udp", "udp_relay", "tcp_relay", "tls_relay"];

export type WayResult = { state: "works"; ms: number; note: string } | { state: "fails"; ms: number; reason: string } | { state: "not-served" };

/** How long a way may take. */
export const LIMIT_MS = 8000;

/** The URI of a way among those that the server names. */
export function uriOf(way: Way, uris: readonly string[]): string | undefined {
  const [begin, end] = { udp: ["stun:", ""], udp_relay: ["turn:", "=udp"], tcp_relay: ["turn:", "=tcp"], tls_relay: ["turns:", "=tcp"] }[way];
  return uris.find((uri) => uri.startsWith(begin ?? "") && uri.endsWith(end ?? ""));
}

/** What a person can do about an error of gathering (W3C WebRTC, RTCPeerConnectionIceErrorEvent). */
export function gatheringReason(code: number, text: string, uri: string): string {
  const said = text ? `${text} (${code})` : `error ${code}`;
  if (code === 401 || code === 441) return `The server refuses its own credentials: ${said}. Does ${uri} lead to this server?`;
  if (code === 486) return `Too many allocations: ${said}. See turn.max_allocations.`;
  if (code === 508) return `The server has no port left: ${said}. See turn.min_port and turn.max_port.`;
  if (code === 701) return `${uri} does not answer: a firewall on the way, a port that is not forwarded, or a certificate that this browser does not trust.`;
  return `${uri}: ${said}.`;
}

/** Whether a candidate of a gathering that is over says that STUN worked: the first error does not, if no candidate came. */
export function stunWorked(reflexive: string | undefined, errors: number): boolean {
  // Without a NAT the reflexive address is the host's own, which is not told twice.
  return reflexive !== undefined || errors === 0;
}

/** Tries one way. Never throws. */
export async function tryWay(way: Way, servers: IceTestServers): Promise<WayResult> {
  const uri = uriOf(way, servers.uris);
  if (!uri) return { state: "not-served" };
  const begun = performance.now();
  const since = (): number => Math.max(1, Math.round(performance.now() - begun));
  const server: RTCIceServer = { urls: uri, username: servers.username ?? "", credential: servers.password ?? "" };
  const done = await (way === "udp" ? reflexive(uri) : throughRelays(server, uri)).catch((thrown: unknown) => ({ reason: String(thrown) }));
  return "reason" in done ? { state: "fails", ms: since(), reason: done.reason } : { state: "works", ms: since(), note: done.note };
}

type Done = { note: string } | { reason: string };

/** Gathers with a STUN server alone. */
function reflexive(uri: string): Promise<Done> {
  const peer = new RTCPeerConnection({ iceServers: [{ urls: uri }] });
  let errors = 0;
  return new Promise<Done>((resolve) => {
    const timer = setTimeout(() => resolve({ reason: `No answer from ${uri} within ${LIMIT_MS / 1000} s: UDP is not let through.` }), LIMIT_MS);
    const finish = (address?: string): void => {
      clearTimeout(timer);
      resolve(stunWorked(address, errors) ? { note: address ? `seen as ${address}` : "no NAT on the way" } : { reason: gatheringReason(701, "", uri) });
    };
    peer.onicecandidateerror = () => errors++;
    peer.onicecandidate = ({ candidate }) => {
      if (candidate?.type === "srflx") finish(`${candidate.address}`);
      if (!candidate) finish();
    };
    peer.createDataChannel("");
    void peer.setLocalDescription();
  }).finally(() => peer.close());
}

/** Two peers of this page that may use nothing but this server's relays: a message from one to the other. */
async function throughRelays(server: RTCIceServer, uri: string): Promise<Done> {
  const [a, b] = [0, 1].map(() => new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay" })) as [RTCPeerConnection, RTCPeerConnection];
  try {
    let gathered = 0;
    let refused: string | undefined;
    const message = new Promise<Done>((resolve) => {
      for (const [from, to] of [[a, b], [b, a]] as const) {
        from.onicecandidate = ({ candidate }) => {
          if (candidate) {
            gathered++;
            void to.addIceCandidate(candidate);
          } else if (gathered === 0) {
            resolve({ reason: refused ?? gatheringReason(701, "", uri) });
          }
        };
        from.onicecandidateerror = (event) => (refused = gatheringReason(event.errorCode, event.errorText, uri));
      }
      b.ondatachannel = ({ channel }) => (channel.onmessage = () => resolve({ note: "a message went through two relays" }));
      setTimeout(() => resolve({ reason: late() }), LIMIT_MS);
    });
    const late = (): string =>
      gathered === 0
        ? (refused ?? gatheringReason(701, "", uri))
        : `Relays were allocated, but no packet passed from one to the other within ${LIMIT_MS / 1000} s: their ports (turn.min_port to turn.max_port) are not forwarded, or the server cannot reach its own public address.`;
    const channel = a.createDataChannel("test");
    channel.onopen = () => channel.send("1");
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription as RTCSessionDescription);
    await b.setLocalDescription();
    await a.setRemoteDescription(b.localDescription as RTCSessionDescription);
    return await message;
  } finally {
    a.close();
    b.close();
  }
}
