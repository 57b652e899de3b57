// Cameras that this project did not write, serving real clips: live, recorded, and what the page says of B-frames.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { api, browser, eventually, farm, freePort, missingFarm, serve, signedIn, sleep } from './lib.mjs';

const CLIPS = {
  street: { clip: 'street-cars_640x352_h264_24fps_gop48.mp4', size: [640, 352], transport: /WebRTC/i },
  person: { clip: 'one-by-one-person_768x432_h264main_bframes_10fps.mp4', size: [768, 432], transport: /HLS/i },
  sound: { clip: 'derived/cam_av_720p15_gop30_aac.mp4', size: [1280, 720], transport: /WebRTC|HLS/i, audio: true },
};

/** A small grey copy of what a <video> shows, and its size. Runs in the page. */
function look(video) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [64, 36];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 64, 36);
  const pixels = context.getImageData(0, 0, 64, 36).data;
  const grey = Array.from({ length: 64 * 36 }, (_, i) => pixels[i * 4 + 1]);
  return { grey, size: [video.videoWidth, video.videoHeight] };
}
const spread = (grey) => Math.max(...grey) - Math.min(...grey);
const change = (a, b) => a.reduce((sum, v, i) => sum + Math.abs(v - b[i]), 0) / a.length;

describe('real clips from a camera farm', { skip: missingFarm }, () => {
  let server, chrome;
  const farms = [];

  before(async () => {
    server = await serve();
    for (const [name, { clip }] of Object.entries(CLIPS)) {
      const port = await freePort();
      farms.push(await farm(clip, port));
      await api(server.url, 'POST', '/v1/cameras', { name, url: `rtsp://127.0.0.1:${port}/cam0` });
    }
    for (const name of Object.keys(CLIPS)) {
      await eventually(`${name} live`, 20_000, async () => (await api(server.url, 'GET', `/v1/cameras/${name}`)).status.state === 'live');
    }
    chrome = await browser();
  });
  after(async () => {
    await chrome?.close();
    for (const f of farms) await f.stop('SIGKILL');
    await server?.stop();
  });

  for (const [name, { size, transport }] of Object.entries(CLIPS)) {
    test(`${name}: a moving live picture, and the page says how it comes`, async () => {
      const page = await signedIn(chrome, server.url);
      await page.goto(`${server.url}/#/camera/${name}`);
      const first = await eventually('a picture', 25_000, async () => {
        const seen = await page.$eval('video', look);
        return seen.size[0] && spread(seen.grey) > 40 ? seen : null;
      });
      assert.deepEqual(first.size, size);
      await eventually('a picture that changed', 10_000, async () => change((await page.$eval('video', look)).grey, first.grey) > 0.3);
      await eventually(`the badge says ${transport}`, 5000, async () => transport.test(await page.locator('.transport').first().innerText({ timeout: 1000 })));
      await page.context().close();
    });
  }

  test('ffprobe reads the live edge and a range of the past, with wall-clock timestamps', async () => {
    await sleep(6000);
    for (const [name, { size, audio }] of Object.entries(CLIPS)) {
      const { spans } = await api(server.url, 'GET', `/v1/streams/${name}/timeline?from=0&to=${Date.now() + 60_000}`);
      const from = spans[0].start;
      for (const range of [{}, { from, to: from + 10_000 }]) {
        const { url } = await api(server.url, 'POST', `/v1/streams/${name}/playback`, range);
        const { stdout } = await promisify(execFile)('ffprobe', ['-v', 'error', '-show_entries', 'stream=codec_name,width,height,start_time', '-of', 'json', server.url + url]);
        const { streams } = JSON.parse(stdout);
        const video = streams.find((s) => s.codec_name === 'h264');
        assert.deepEqual([video.width, video.height], size, name);
        assert.equal(streams.some((s) => s.codec_name === 'aac'), Boolean(audio), `${name} has ${audio ? '' : 'no '}sound`);
        const [expected, tolerance] = range.from ? [from, 3000] : [Date.now(), 40_000];
        assert.ok(Math.abs(video.start_time * 1000 - expected) < tolerance, `${name} starts at ${video.start_time}, not near ${expected}`);
      }
    }
  });
});
