// A viewer behind a bad network: of every hundred packets, each way, five are lost, and each is under way for anything from 0 to 100 ms, so that many overtake
// others. It is a network between Chromium and the server, as `tc netem delay 50ms 50ms loss 5%` makes one, on systems whose kernel has no netem too.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, before, describe, test } from 'node:test';
import { KEY, SECRET, browser, demo, missing } from './lib.mjs';

const LOSS = 0.05, MOST_DELAY_MS = 100, WATCHED_MS = 20_000;

/** Packets between whoever sends to `port` and the server at `to`. */
class Network {
  constructor(to) {
    this.to = to;
    this.passed = this.lost = 0;
    this.sockets = new Map();
    this.closed = false;
  }
  async open() {
    this.door = createSocket('udp4');
    this.door.on('message', (packet, from) => this.pass(() => this.outside(from).send(packet, this.to, '127.0.0.1')));
    await new Promise((done) => this.door.bind(0, '127.0.0.1', done));
    return this.door.address().port;
  }
  /** The server sees each client at a port of its own. */
  outside(from) {
    const name = `${from.address}:${from.port}`;
    if (!this.sockets.has(name)) {
      const socket = createSocket('udp4');
      socket.on('message', (packet) => this.pass(() => this.door.send(packet, from.port, from.address)));
      this.sockets.set(name, socket);
    }
    return this.sockets.get(name);
  }
  pass(send) {
    if (Math.random() < LOSS) { this.lost++; return; }
    this.passed++;
    setTimeout(() => this.closed || send(), Math.random() * MOST_DELAY_MS);
  }
  close() {
    this.closed = true;
    for (const socket of [this.door, ...this.sockets.values()]) socket?.close();
  }
}

/** Runs in the page: watches `stream` with all candidates at `port`; when each picture was shown, and what the browser counted. */
async function watched([stream, authorization, port, ms]) {
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const peer = new RTCPeerConnection();
  peer.addTransceiver('video', { direction: 'recvonly' });
  const shown = [];
  const again = (now) => { shown.push(now); video.requestVideoFrameCallback(again); };
  video.requestVideoFrameCallback(again);
  peer.ontrack = ({ track }) => { video.srcObject = new MediaStream([track]); video.play(); };
  await peer.setLocalDescription(await peer.createOffer());
  const answer = await fetch(`/v1/streams/${stream}/whep`, { method: 'POST', headers: { 'content-type': 'application/sdp', authorization }, body: peer.localDescription.sdp });
  if (answer.status !== 201) throw new Error(`WHEP ${answer.status}: ${await answer.text()}`);
  const sdp = (await answer.text()).replace(/^(a=candidate:\S+ \d+ udp \d+ \S+ )\d+/gim, `$1${port}`);
  const began = performance.now();
  await peer.setRemoteDescription({ type: 'answer', sdp });
  while (!shown.length && performance.now() - began < 15_000) await new Promise((done) => setTimeout(done, 50));
  await new Promise((done) => setTimeout(done, ms));
  const counted = [...(await peer.getStats()).values()].find((one) => one.type === 'inbound-rtp' && one.kind === 'video') ?? {};
  peer.close();
  await fetch(answer.headers.get('location'), { method: 'DELETE', headers: { authorization } });
  const gaps = shown.slice(1).map((at, n) => at - shown[n]);
  return {
    first_ms: Math.round(shown[0] - began), pictures: shown.length, longest_gap_ms: Math.round(Math.max(...gaps, performance.now() - shown.at(-1) - 500)),
    nacks: counted.nackCount, key_frames_asked: counted.pliCount, freezes: counted.freezeCount, lost: counted.packetsLost,
  };
}

describe('a viewer behind a bad network', { skip: missing }, () => {
  let server, chrome, page, network;
  before(async () => {
    chrome = await browser();
    server = await demo();
    page = await (await chrome.newContext({ bypassCSP: true })).newPage();
    await page.goto(`${server.url}/healthz`);
  });
  after(async () => {
    network?.close();
    await chrome?.close();
    await server?.stop();
  });

  test('sees the picture go on: nothing stands for a second', async () => {
    const authorization = 'Basic ' + Buffer.from(`${KEY}:${SECRET}`).toString('base64');
    const to = Number(new URL(server.url).port);
    const good = await page.evaluate(watched, ['street', authorization, to, WATCHED_MS / 2]);
    network = new Network(to);
    const bad = await page.evaluate(watched, ['street', authorization, await network.open(), WATCHED_MS]);
    console.log(`a good network: ${JSON.stringify(good)}\n5 % lost, 0 to 100 ms: ${JSON.stringify(bad)}; of ${network.passed + network.lost} packets ${network.lost} were lost`);
    assert.ok(network.lost > 50 && bad.nacks > 0, 'there is loss, and it is noticed');
    assert.ok(bad.lost < network.lost / 4, `lost packets come again, all but ${bad.lost}`);
    assert.ok(bad.first_ms < 5000, `the first picture took ${bad.first_ms} ms`);
    assert.ok(bad.longest_gap_ms <= 1000, `a picture stood for ${bad.longest_gap_ms} ms`);
    assert.ok(bad.pictures >= good.pictures, `${bad.pictures} pictures, and of a good network ${good.pictures} in half the time`);
  });
});
