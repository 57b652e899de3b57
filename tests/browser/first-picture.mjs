// first-picture.mjs URL STREAM ROUNDS: from a WHEP offer to the first decoded picture in Chromium, in ms. Prints one JSON object.
// Credentials come from VIDICON_ROOT_ACCESS_KEY_ID and VIDICON_ROOT_SECRET_ACCESS_KEY.
import { browser } from './lib.mjs';

const [url, stream, rounds] = process.argv.slice(2);
const authorization = 'Basic ' + Buffer.from(`${process.env.VIDICON_ROOT_ACCESS_KEY_ID}:${process.env.VIDICON_ROOT_SECRET_ACCESS_KEY}`).toString('base64');

const chrome = await browser();
const page = await (await chrome.newContext({ bypassCSP: true })).newPage();
await page.goto(`${url}/healthz`);

const took = [];
for (let i = 0; i < Number(rounds); i++) {
  took.push(await page.evaluate(async ([stream, authorization]) => {
    const video = document.createElement('video');
    video.muted = true;
    document.body.append(video);
    const peer = new RTCPeerConnection();
    peer.addTransceiver('video', { direction: 'recvonly' });
    const shown = new Promise((done, failed) => {
      setTimeout(() => failed(new Error('no picture within 10 s')), 10_000);
      video.requestVideoFrameCallback(() => done(performance.now()));
    });
    peer.ontrack = ({ track }) => { video.srcObject = new MediaStream([track]); video.play(); };
    await peer.setLocalDescription(await peer.createOffer());
    const started = performance.now();
    const answer = await fetch(`/v1/streams/${stream}/whep`, {
      method: 'POST', headers: { 'content-type': 'application/sdp', authorization }, body: peer.localDescription.sdp,
    });
    if (answer.status !== 201) throw new Error(`WHEP ${answer.status}: ${await answer.text()}`);
    await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
    const ms = (await shown) - started;
    peer.close();
    video.remove();
    await fetch(answer.headers.get('location'), { method: 'DELETE', headers: { authorization } });
    return ms;
  }, [stream, authorization]));
  // Spread over the key-frame interval.
  await new Promise((done) => setTimeout(done, 137 * (i % 7)));
}
await chrome.close();
took.sort((a, b) => a - b);
const camera = await fetch(`${url}/v1/cameras/${stream}`, { headers: { authorization } }).then((a) => a.json());
console.log(JSON.stringify({
  rounds: took.length, p50_ms: took[took.length >> 1], p95_ms: took[Math.floor((took.length - 1) * 0.95)], max_ms: took.at(-1),
  key_interval_ms: camera.key_interval_ms,
}));
