// The AWS SDK for WebRTC in JavaScript, unmodified, as master and as viewer: real peer connections that find each other over this server, and the
// picture that the one draws read in what the other shows.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { KEY, ROOT, SECRET, browser, eventually, missing as missingBrowser, serve, sleep } from './lib.mjs';

const SDK = path.join(process.env.VIDICON_KVS_WEBRTC ?? path.join(ROOT, '.vidicon-tools/kvs-webrtc'), 'dist/kvs-webrtc.min.js');
const missing = missingBrowser || (existsSync(SDK) ? false : `skipped: amazon-kinesis-video-streams-webrtc is not installed (${SDK})`);

/** Runs in the page: a master that sends a canvas whose left half is one colour and whose right half counts, to each viewer that asks. */
function master({ config, colour }) {
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
    const peer = (peers[id] = new RTCPeerConnection());
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
function viewer({ config, clientId }) {
  const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, playsInline: true });
  document.body.append(video);
  const log = (window.log = []);
  const began = performance.now();
  const client = (window.client = new window.KVSWebRTC.SignalingClient({ role: 'VIEWER', clientId, ...config }));
  const peer = (window.peer = new RTCPeerConnection());
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
function look() {
  const video = document.querySelector('video');
  const canvas = Object.assign(document.createElement('canvas'), { width: 32, height: 18 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 32, 18);
  const at = (x) => [...context.getImageData(x, 9, 1, 1).data.slice(0, 3)];
  return { left: at(8), right: at(24), shown: video.getVideoPlaybackQuality().totalVideoFrames, size: [video.videoWidth, video.videoHeight] };
}

describe('the WebRTC SDK for JavaScript', { skip: missing }, () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'vidicon-signaling-'));
  let server, url, chrome, arn;

  before(async () => {
    const [key, certificate] = ['own.key', 'own.pem'].map((name) => path.join(folder, name));
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    server = await serve('127.0.0.1:0', { VIDICON_TLS__CERTIFICATE: certificate, VIDICON_TLS__KEY: key });
    const spki = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: 'spki', format: 'der' });
    const trust = `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`;
    // The page below comes from no address, and Chromium would keep it from those of this machine.
    chrome = await browser(trust, '--disable-features=LocalNetworkAccessChecks');
    url = server.url;
  });
  after(async () => {
    await chrome?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

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
  const call = (at, operation, body) => ask(at, 'POST', `/${operation}`, body);
  const presence = (at) => ask(at, 'GET', '/v1/channels/door/presence');

  async function config(at, role) {
    const { ResourceEndpointList } = await call(at, 'getSignalingChannelEndpoint', { ChannelARN: arn, SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS'], Role: role } });
    const [{ ResourceEndpoint: channelEndpoint }] = ResourceEndpointList;
    assert.match(channelEndpoint, /^wss:\/\/127\.0\.0\.1:\d+$/);
    return { region: 'us-west-2', channelARN: arn, channelEndpoint, credentials: { accessKeyId: KEY, secretAccessKey: SECRET } };
  }

  test('a viewer sees the moving picture of its master, and another viewer too', async () => {
    const of = await page();
    ({ ChannelARN: arn } = await call(of, 'createSignalingChannel', { ChannelName: 'door' }));
    await of.evaluate(master, { config: await config(of, 'MASTER'), colour: 'rgb(200, 30, 30)' });
    const seen = [];
    for (const clientId of ['ann', 'bob']) {
      const at = await page();
      const took = await at.evaluate(viewer, { config: await config(at, 'VIEWER'), clientId });
      assert.ok(took < 5000, `connected after ${took} ms`);
      const first = await eventually('a picture', 15_000, async () => {
        const shown = await at.evaluate(look);
        return shown.left[0] > 120 && shown.shown > 2 ? shown : null;
      });
      assert.deepEqual(first.size, [320, 180]);
      assert.ok(first.left[0] > 150 && first.left[1] < 90 && first.left[2] < 90, `red: ${first.left}`);
      await eventually('a picture that moves', 10_000, async () => {
        const later = await at.evaluate(look);
        return later.shown > first.shown + 10 && Math.abs(later.right[2] - first.right[2]) > 20;
      });
      assert.ok((await at.evaluate(() => window.log)).includes('answer of undefined'), 'a master has no client id');
      seen.push(at);
    }
    assert.deepEqual(await of.evaluate(() => window.log), ['offer of ann', 'offer of bob']);
    const there = await presence(of);
    assert.deepEqual(there.viewers.map((v) => v.client_id), ['ann', 'bob']);
    assert.ok(there.master.since > 0);
    for (const at of [...seen, of]) await at.context().close();
    const looking = await page();
    await eventually('nobody is connected', 10_000, async () => {
      const { master: left, viewers } = await presence(looking);
      return left === null && viewers.length === 0;
    });
    await looking.context().close();
  });

  test('an offer waits for a master that comes later, and refusals are events of the client', async () => {
    const [of, at] = [await page(), await page()];
    const connecting = at.evaluate(viewer, { config: await config(at, 'VIEWER'), clientId: 'early' });
    await sleep(500);
    await of.evaluate(master, { config: await config(of, 'MASTER'), colour: 'rgb(30, 200, 30)' });
    await connecting;
    await eventually('a green picture', 15_000, async () => {
      const { left } = await at.evaluate(look);
      return left[1] > 120 && left[0] < 90;
    });
    await of.evaluate(() => window.client.sendSdpAnswer({ type: 'answer', sdp: 'x' }, 'a b', '7'));
    await eventually('a status response', 5000, async () => (await of.evaluate(() => window.log)).some((line) => line.includes('"correlationId":"7"') && line.includes('recipientClientId')));
    // The same viewer in another page takes over, and the first is told by the end of its socket.
    const again = await page();
    await again.evaluate(viewer, { config: await config(again, 'VIEWER'), clientId: 'early' });
    await eventually('the first is closed', 5000, async () => (await at.evaluate(() => window.log)).includes('closed'));
    for (const open of [of, at, again]) await open.context().close();
  });
});
