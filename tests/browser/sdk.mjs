// The AWS SDK for WebRTC in JavaScript, unmodified, in pages of Chromium: what tests with it share.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { KEY, ROOT, SECRET, browser, missing as missingBrowser, serve } from './lib.mjs';

const SDK = path.join(process.env.VIDICON_KVS_WEBRTC ?? path.join(ROOT, '.vidicon-tools/kvs-webrtc'), 'dist/kvs-webrtc.min.js');
/** Why tests with it cannot run here, or false. */
export const missing = missingBrowser || (existsSync(SDK) ? false : `skipped: amazon-kinesis-video-streams-webrtc is not installed (${SDK})`);

/** Runs in the page: a master that sends a canvas whose left half is one colour and whose right half counts, to each viewer that asks.
 * `rtc` is how its peer connections are set up. */
export function master({ config, colour, rtc }) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const context = canvas.getContext('2d');
  let n = 0;
  setInterval(() => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 160, 180);
    context.fillStyle = `rgb(0, 0, ${(n++ * 16) % 256})`;
    context.fillRect(160, 0, 160, 180);
  }, 40);
  const stream = canvas.captureStream(25);
  const log = (window.log = []);
  const peers = (window.peers = {});
  const client = (window.client = new window.KVSWebRTC.SignalingClient({ role: 'MASTER', ...config }));
  client.on('sdpOffer', async (offer, id) => {
    log.push(`offer of ${id}`);
    const peer = (peers[id] = new RTCPeerConnection(rtc));
    stream.getTracks().forEach((track) => peer.addTrack(track, stream));
    peer.onicecandidate = ({ candidate }) => candidate && client.sendIceCandidate(candidate, id);
    await peer.setRemoteDescription(offer);
    client.on('iceCandidate', (candidate, from) => from === id && peer.addIceCandidate(candidate));
    await peer.setLocalDescription(await peer.createAnswer());
    client.sendSdpAnswer(peer.localDescription, id);
  });
  client.on('statusResponse', (status) => log.push(JSON.stringify(status)));
  client.on('close', () => log.push('closed'));
  return new Promise((done, failed) => {
    client.on('open', done);
    client.on('error', failed);
    client.open();
  });
}

/** Runs in the page: a viewer that shows what its master sends. Resolves when the picture plays, with how long that took. */
export function viewer({ config, clientId, rtc }) {
  const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, playsInline: true });
  document.body.append(video);
  const log = (window.log = []);
  const began = performance.now();
  const client = (window.client = new window.KVSWebRTC.SignalingClient({ role: 'VIEWER', clientId, ...config }));
  const peer = (window.peer = new RTCPeerConnection(rtc));
  peer.addTransceiver('video', { direction: 'recvonly' });
  peer.ontrack = ({ streams }) => (video.srcObject = streams[0]);
  peer.onicecandidate = ({ candidate }) => candidate && client.sendIceCandidate(candidate);
  client.on('sdpAnswer', (answer, from) => {
    log.push(`answer of ${from}`);
    peer.setRemoteDescription(answer);
  });
  client.on('iceCandidate', (candidate) => peer.addIceCandidate(candidate));
  client.on('statusResponse', (status) => log.push(JSON.stringify(status)));
  client.on('close', () => log.push('closed'));
  return new Promise((done, failed) => {
    client.on('error', failed);
    client.on('open', async () => {
      await peer.setLocalDescription(await peer.createOffer());
      client.sendSdpOffer(peer.localDescription);
    });
    peer.onconnectionstatechange = () => {
      log.push(peer.connectionState);
      if (peer.connectionState === 'connected') done(performance.now() - began);
      if (peer.connectionState === 'failed') failed(new Error(log.join(', ')));
    };
    client.open();
  });
}

/** Runs in the page: the colours of both halves of what is shown, and how many pictures were decoded. */
export function look() {
  const video = document.querySelector('video');
  const canvas = Object.assign(document.createElement('canvas'), { width: 32, height: 18 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 32, 18);
  const at = (x) => [...context.getImageData(x, 9, 1, 1).data.slice(0, 3)];
  const grey = context.getImageData(0, 0, 32, 18).data.filter((_, i) => i % 4 === 1);
  return { left: at(8), right: at(24), spread: Math.max(...grey) - Math.min(...grey), shown: video.getVideoPlaybackQuality().totalVideoFrames, size: [video.videoWidth, video.videoHeight] };
}

/** A server over TLS, with these settings, and a browser that trusts it. */
export async function start(env = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'vidicon-signaling-'));
  const [key, certificate] = ['own.key', 'own.pem'].map((name) => path.join(folder, name));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  const server = await serve('127.0.0.1:0', { VIDICON_TLS__CERTIFICATE: certificate, VIDICON_TLS__KEY: key, ...env });
  const spki = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: 'spki', format: 'der' });
  const trust = `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`;
  // The pages come from no address, and Chromium would keep them from those of this machine.
  const chrome = await browser(trust, '--disable-features=LocalNetworkAccessChecks');
  const { url } = server;

  /** A page with the SDK in it. It is none of the server's: what it may do is not bound by its policies. */
  async function page() {
    const context = await chrome.newContext();
    const made = await context.newPage();
    await made.route('**/blank', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><body>' }));
    await made.goto(`${url}/blank`);
    await made.addScriptTag({ content: readFileSync(SDK, 'utf8') });
    return made;
  }
  /** A request with the tests' credentials, sent by a page, which trusts the certificate. */
  const ask = (at, method, route, body) => at.evaluate(async ([url, verb, authorization, text]) => {
    const answer = await fetch(url, { method: verb, headers: { authorization, 'content-type': 'application/json' }, body: text });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    return answer.json();
  }, [url + route, method, 'Basic ' + Buffer.from(`${KEY}:${SECRET}`).toString('base64'), body && JSON.stringify(body)]);
  /** What the SDK wants to know of a channel. */
  async function config(at, channelARN, role) {
    const asked = { ChannelARN: channelARN, SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS'], Role: role } };
    const { ResourceEndpointList } = await ask(at, 'POST', '/getSignalingChannelEndpoint', asked);
    const [{ ResourceEndpoint: channelEndpoint }] = ResourceEndpointList;
    assert.match(channelEndpoint, /^wss:\/\/127\.0\.0\.1:\d+$/);
    return { region: 'us-west-2', channelARN, channelEndpoint, credentials: { accessKeyId: KEY, secretAccessKey: SECRET } };
  }
  async function stop() {
    await chrome.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return { url, page, ask, config, stop };
}
