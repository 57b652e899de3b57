// Sound by WebRTC: what a producer pushes as Opus, or as G.711, is heard in Chromium beside its pictures, and at the same time.
import assert from 'node:assert/strict';
import { spawn, execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { KEY, SECRET, browser, eventually, missing as missingBrowser, serve, signedIn } from './lib.mjs';

const missing = missingBrowser || (has('ffmpeg') && has('curl') ? false : 'skipped: ffmpeg or curl is not installed');

function has(program) {
  try {
    execFileSync(program, ['-version'], { stdio: 'ignore' });
    return true;
  } catch (error) {
    return error.code !== 'ENOENT';
  }
}

/** Runs in the page: plays a stream by WHEP, with these kinds of media; `window.peer` is the connection. */
async function play({ stream, kinds }) {
  const peer = (window.peer = new RTCPeerConnection());
  const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true });
  document.body.append(video);
  for (const kind of kinds) peer.addTransceiver(kind, { direction: 'recvonly' });
  peer.ontrack = ({ streams }) => {
    (window.streams ??= []).push(streams[0].id);
    if (video.srcObject !== streams[0]) video.srcObject = streams[0];
  };
  await peer.setLocalDescription(await peer.createOffer());
  const answer = await fetch(`/v1/streams/${stream}/whep`, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: peer.localDescription.sdp });
  const text = await answer.text();
  if (answer.status !== 201) return { status: answer.status, ...JSON.parse(text).error };
  await peer.setRemoteDescription({ type: 'answer', sdp: text });
  return { status: 201 };
}

/** Runs in the page: what is received. */
async function figures() {
  const found = {};
  const report = [...(await window.peer.getStats()).values()];
  for (const entry of report.filter((e) => e.type === 'inbound-rtp')) {
    const codec = report.find((e) => e.id === entry.codecId)?.mimeType;
    const { totalAudioEnergy, totalSamplesReceived, concealedSamples, framesDecoded, estimatedPlayoutTimestamp: playsAt } = entry;
    found[entry.kind] = { codec, totalAudioEnergy, totalSamplesReceived, concealedSamples, framesDecoded, playsAt };
  }
  return found;
}

describe('sound by WebRTC', { skip: missing }, () => {
  const producers = [];
  let server, chrome;

  before(async () => {
    server = await serve();
    chrome = await browser();
  });
  after(async () => {
    for (const producer of producers) producer.kill('SIGKILL');
    await chrome?.close();
    await server?.stop();
  });

  async function produce(stream, ...sound) {
    const headers = { authorization: 'Basic ' + Buffer.from(`${KEY}:${SECRET}`).toString('base64'), 'content-type': 'application/json' };
    const made = await fetch(`${server.url}/createStream`, { method: 'POST', headers, body: JSON.stringify({ StreamName: stream, DataRetentionInHours: 1 }) });
    assert.equal(made.status, 200, await made.text());
    // A cluster begins at each key frame, and nowhere else.
    const film = ['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'];
    const pictures = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-bf', '0', '-g', '25', '-pix_fmt', 'yuv420p'];
    const clusters = ['-cluster_time_limit', '60000', '-cluster_size_limit', '20000000', '-flush_packets', '1', '-f', 'matroska', '-'];
    const ffmpeg = spawn('ffmpeg', ['-v', 'error', '-re', ...film, ...pictures, ...sound, ...clusters], { stdio: ['ignore', 'pipe', 'inherit'] });
    const asked = { 'x-amzn-stream-name': stream, 'x-amzn-fragment-timecode-type': 'RELATIVE', 'x-amzn-producer-start-timestamp': (Date.now() / 1000).toFixed(3) };
    const curl = spawn('curl', ['-s', '-S', '-N', '-X', 'POST', '-u', `${KEY}:${SECRET}`, '-H', 'Expect:', '-H', 'Transfer-Encoding: chunked',
      ...Object.entries(asked).flatMap(([name, value]) => ['-H', `${name}: ${value}`]), '-T', '-', `${server.url}/putMedia`], { stdio: ['pipe', 'pipe', 'inherit'] });
    ffmpeg.stdout.pipe(curl.stdin);
    curl.stdin.on('error', () => {});
    let told = '';
    curl.stdout.on('data', (chunk) => (told += chunk));
    producers.push(ffmpeg, curl);
    await eventually(() => `${stream} is stored; the producer was told ${told.slice(-300)}`, 20_000, () => told.includes('PERSISTED'));
  }

  async function watched(stream, ...kinds) {
    const page = await signedIn(chrome, server.url);
    const answer = await eventually('an answer', 15_000, async () => {
      const answer = await page.evaluate(play, { stream, kinds });
      return answer.status === 503 ? null : answer;
    });
    return [page, answer];
  }

  for (const [stream, mime, ...sound] of [
    ['opus', 'audio/opus', '-c:a', 'libopus', '-b:a', '64k'],
    ['g711', 'audio/PCMU', '-c:a', 'pcm_mulaw', '-ar', '8000', '-ac', '1'],
  ]) {
    test(`${mime} is heard beside the pictures`, async () => {
      await produce(stream, ...sound);
      const [page, answer] = await watched(stream, 'audio', 'video');
      assert.deepEqual(answer, { status: 201 });
      const first = await eventually('pictures and sound', 20_000, async () => {
        const { audio, video } = await page.evaluate(figures);
        return audio?.totalAudioEnergy > 0 && video?.framesDecoded > 10 && { audio, video };
      });
      assert.equal(first.audio.codec, mime);
      const before = first.audio;
      const second = await eventually('two seconds of sound, without gaps', 20_000, async () => {
        const { audio, video } = await page.evaluate(figures);
        return audio.totalAudioEnergy > before.totalAudioEnergy * 2 && video.framesDecoded > 60 && audio.playsAt && video.playsAt && { audio, video };
      });
      // A browser comes to play both together step by step, by their sender reports.
      let apart;
      await eventually(() => `pictures and sound that are played at the same time were made ${apart} ms apart`, 20_000, async () => {
        const { audio, video } = await page.evaluate(figures);
        apart = Math.abs(audio.playsAt - video.playsAt);
        // Each figure is of the last look at a queue, some 100 ms long; without a common clock it would be seconds.
        return apart < 400;
      });
      const [heard, made] = ['totalSamplesReceived', 'concealedSamples'].map((name) => second.audio[name] - before[name]);
      assert.ok(made < heard / 4, `${made} of ${heard} samples were made up`);
      assert.deepEqual(new Set(await page.evaluate(() => window.streams)).size, 1, 'one stream of the browser, so that it plays both together');
      await page.context().close();

      const [alone, answered] = await watched(stream, 'audio');
      assert.deepEqual(answered, { status: 201 });
      await eventually('sound alone', 15_000, async () => {
        const { audio, video } = await alone.evaluate(figures);
        return audio?.totalAudioEnergy > 0 && !video;
      });
      await alone.context().close();
    });
  }

  test('who asks for sound alone of a stream that has none for WebRTC is told', async () => {
    await produce('aac', '-c:a', 'aac');
    const [page, answer] = await watched('aac', 'audio');
    assert.equal(answer.status, 406);
    assert.match(answer.message, /sound alone/);
    await page.context().close();
    const [seen, answered] = await watched('aac', 'audio', 'video');
    assert.deepEqual(answered, { status: 201 });
    await eventually('pictures without sound', 15_000, async () => (await seen.evaluate(figures)).video?.framesDecoded > 10);
    await seen.context().close();
  });
});
