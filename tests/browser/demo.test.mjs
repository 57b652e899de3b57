// The demo as a newcomer sees it, judged by decoded pictures: the clock that the camera draws is read out of what Chromium shows.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { api, browser, demo, eventually, missing, readClock, signedIn, sleep } from './lib.mjs';

describe('vidicon demo', { skip: missing }, () => {
  let server, chrome, page, banner;

  before(async () => {
    chrome = await browser();
    server = await demo();
    banner = Date.now();
    page = await signedIn(chrome, server.url);
  });
  after(async () => {
    await chrome?.close();
    await server?.stop();
  });

  const clock = (selector) => page.$eval(selector, readClock);

  test('within 10 s of the banner: a live picture, a detection on the page, a signed alert at the receiver', async () => {
    const left = () => Math.max(1, banner + 10_000 - Date.now());
    const first = await eventually('a live picture with the camera\'s clock in it', left(), () => clock('.tile video'));
    assert.ok(Math.abs(first.seen - first.ms) < 3000, `the picture is ${first.seen - first.ms} ms old`);
    await eventually('a class of the model on the tile', left(), async () =>
      /person|bicycle|car/i.test(await page.locator('.tile .chips').innerText()));
    await eventually('a box drawn over the picture', left(), () =>
      page.$eval('.tile canvas', (c) => c.width > 0 && c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 0)));
    await server.line(/^alert .* on street .*signature ok/, left());
    assert.ok(Date.now() - banner <= 10_000);
    assert.match(await page.locator('.tile').innerText(), /WebRTC/i);
    assert.deepEqual(page.problems, []);
  });

  test('the live picture stays fresh', async () => {
    const ages = [];
    for (let i = 0; i < 20; i++) {
      const now = await clock('.tile video');
      if (now) ages.push(now.seen - now.ms);
      await sleep(150);
    }
    ages.sort((a, b) => a - b);
    assert.ok(ages.length >= 15, `only ${ages.length} of 20 pictures could be read`);
    assert.ok(ages[ages.length >> 1] < 1500, `the median picture is ${ages[ages.length >> 1]} ms old`);
  });

  test('after a minute the first half minute plays, and its pictures are of that time', async () => {
    await sleep(Math.max(0, banner + 60_000 - Date.now()));
    const { spans } = await api(server.url, 'GET', `/v1/streams/street/timeline?from=0&to=${Date.now() + 60_000}`);
    const start = spans[0].start;
    assert.ok(spans.at(-1).end - start > 50_000, 'a minute is recorded');
    await page.goto(`${server.url}/#/camera/street?t=${start + 5000}`);
    const first = await eventually('a recorded picture', 15_000, async () => {
      const shown = await clock('video');
      return shown && shown.seen - shown.ms > 20_000 ? shown : null;
    });
    assert.ok(first.ms >= start - 500 && first.ms <= start + 30_000, `the picture is of ${first.ms - start} ms after the start`);
    await sleep(4000);
    const later = await clock('video');
    assert.ok(later && later.ms - first.ms > 2000 && later.ms - first.ms < 8000, `four seconds later it has moved by ${later?.ms - first.ms} ms`);
    assert.deepEqual(page.problems, []);
  });

  test('the alert is on the page with its snapshot', async () => {
    await page.goto(`${server.url}/#/alerts`);
    await eventually('a decoded snapshot', 10_000, () =>
      page.$$eval('img[src*="snapshot"]', (images) => images.some((i) => i.complete && i.naturalWidth >= 640)));
  });

  test('adding a camera: the probe says what it found, or precisely why not', async () => {
    await page.goto(`${server.url}/#/add`);
    const probe = async (address, said) => {
      await page.getByLabel('Address').fill(address);
      await page.getByRole('button', { name: 'Probe' }).click();
      await eventually(`the probe of ${address} says ${said}`, 15_000, async () => said.test(await page.locator('main').innerText()));
    };
    const [, camera] = server.lines.join('\n').match(/camera\s+(rtsp:\S+)/);
    await probe(camera, /H\.264[^]*1280[^]*720/);
    await probe(camera.replace(/:\d+\//, ':1/'), /refused/i);
    await probe(camera.replace('/street', '/nowhere'), /404|not found/i);
  });

  test('one signal ends it within five seconds', async () => {
    const started = Date.now();
    const { code } = await server.stop('SIGINT');
    assert.equal(code, 0);
    assert.ok(Date.now() - started < 5000, `it took ${Date.now() - started} ms`);
  });
});
