// The page, live pictures both ways and the clients of HLS over TLS, with a certificate of our own making.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { KEY, SECRET, api, browser, eventually, farm, freePort, missingFarm, serve, signedIn } from './lib.mjs';

const run = promisify(execFile);
const CLIPS = {
  street: { clip: 'street-cars_640x352_h264_24fps_gop48.mp4', transport: /WebRTC/i },
  person: { clip: 'one-by-one-person_768x432_h264main_bframes_10fps.mp4', transport: /HLS/i },
};

/** How far a <video> has come, how many pictures it has shown, and how much light and dark there is in what it shows. Runs in the page. */
function look(video) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [32, 18];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 32, 18);
  const grey = context.getImageData(0, 0, 32, 18).data.filter((_, i) => i % 4 === 1);
  return { at: video.currentTime, shown: video.getVideoPlaybackQuality().totalVideoFrames, spread: Math.max(...grey) - Math.min(...grey) };
}

describe('over TLS', { skip: missingFarm }, () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'vidicon-tls-'));
  const certificate = path.join(folder, 'own.pem');
  const farms = [];
  let server, plain, secure, chrome;

  before(async () => {
    const key = path.join(folder, 'own.key');
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    const [listen, tls] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    server = await serve(listen, { VIDICON_TLS__CERTIFICATE: certificate, VIDICON_TLS__KEY: key, VIDICON_TLS__LISTEN: tls });
    [plain, secure] = [`http://${listen}`, `https://${tls}`];
    assert.equal(server.url, secure, 'the banner names the port for clients');
    for (const [name, { clip }] of Object.entries(CLIPS)) {
      const port = await freePort();
      farms.push(await farm(clip, port));
      await api(plain, 'POST', '/v1/cameras', { name, url: `rtsp://127.0.0.1:${port}/cam0` });
    }
    for (const name of Object.keys(CLIPS)) {
      await eventually(`${name} live`, 20_000, async () => (await api(plain, 'GET', `/v1/cameras/${name}`)).status.state === 'live');
    }
    // Chromium trusts this key and no other that its roots do not vouch for.
    const spki = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: 'spki', format: 'der' });
    chrome = await browser(`--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`);
  });
  after(async () => {
    await chrome?.close();
    for (const f of farms) await f.stop('SIGKILL');
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('who does not trust the certificate sees nothing', async () => {
    const stranger = await browser();
    try {
      await assert.rejects((await stranger.newPage()).goto(secure), /ERR_CERT_AUTHORITY_INVALID/);
    } finally {
      await stranger.close();
    }
  });

  for (const [name, { transport }] of Object.entries(CLIPS)) {
    test(`${name}: the page shows a moving live picture by ${transport.source}`, async () => {
      const page = await signedIn(chrome, secure);
      const [cookie] = await page.context().cookies();
      assert.ok(cookie.secure && cookie.httpOnly, JSON.stringify(cookie));
      await page.goto(`${secure}/#/camera/${name}`);
      assert.equal(await page.evaluate(() => window.isSecureContext), true);
      const first = await eventually('a picture', 25_000, async () => {
        const seen = await page.$eval('video', look);
        return seen.spread > 40 ? seen : null;
      });
      await eventually('more pictures', 10_000, async () => {
        const seen = await page.$eval('video', look);
        return seen.shown > first.shown + 10 && seen.at > first.at;
      });
      await eventually(`the badge says ${transport}`, 5000, async () => transport.test(await page.locator('.transport').first().innerText({ timeout: 1000 })));
      assert.deepEqual(page.problems, []);
      await page.context().close();
    });
  }

  test('ffmpeg and curl play a range and the live edge', async () => {
    const { spans } = await eventually('six seconds recorded', 20_000, async () => {
      const timeline = await api(plain, 'GET', `/v1/streams/street/timeline?from=0&to=${Date.now() + 60_000}`);
      return timeline.spans[0]?.end - timeline.spans[0]?.start > 6000 && timeline;
    });
    const { start } = spans[0];
    for (const range of [{}, { from: start, to: start + 4000 }]) {
      const asked = ['--silent', '--show-error', '--fail', '--cacert', certificate];
      const { stdout: answer } = await run('curl', [...asked, '--user', `${KEY}:${SECRET}`, '--json', JSON.stringify(range), `${secure}/v1/streams/street/playback`]);
      const url = secure + JSON.parse(answer).url;
      const { stdout: playlist } = await run('curl', [...asked, '--location', url]);
      assert.match(playlist, /^#EXTM3U/);
      await assert.rejects(run('curl', ['--silent', '--show-error', url]), /SSL certificate problem/);
      const { stdout } = await run('ffmpeg', ['-v', 'error', '-tls_verify', '1', '-ca_file', certificate, '-i', url, '-t', '2', '-map', '0:v', '-f', 'framemd5', '-']);
      const pictures = stdout.split('\n').filter((line) => /^0,/.test(line));
      assert.ok(pictures.length > 20 && new Set(pictures.map((line) => line.split(',').at(-1))).size > 10, `${pictures.length} pictures`);
    }
  });
});
