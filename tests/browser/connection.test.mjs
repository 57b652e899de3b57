// The page's test of the ways to STUN and TURN: what works is timed, what is not served is said, and what fails fails with a reason.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { browser, eventually, missing, serve, signedIn } from './lib.mjs';

describe('the test of the connection', { skip: missing }, () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'vidicon-connection-'));
  let chrome;
  before(async () => (chrome = await browser('--disable-features=LocalNetworkAccessChecks')));
  after(async () => {
    await chrome?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The four results, as the page shows them: state, milliseconds, what it says. */
  async function results(env) {
    const server = await serve('127.0.0.1:0', env);
    try {
      // Where there is a port with TLS too, the page comes by the other: this browser trusts no certificate of these tests.
      const [, url] = await server.line(/(http:\/\/127\.0\.0\.1:\d+)/);
      const page = await signedIn(chrome, url);
      await page.goto(`${url}/#/connection`);
      await eventually('the end of the test', 45_000, async () => !/Testing/.test(await page.locator('main').innerText()));
      const ways = await page.$$eval('.way', (items) => items.map((item) => ({
        state: item.dataset.state, ms: parseInt(item.querySelector('.way-ms')?.textContent ?? '', 10), text: item.querySelector('.way-result').innerText })));
      const said = await page.locator('.page-head').innerText();
      assert.deepEqual(page.problems, []);
      await page.context().close();
      return { ways, said };
    } finally {
      await server.stop();
    }
  }

  test('each way that is served works, and is timed', async () => {
    const { ways, said } = await results({ VIDICON_TURN__TCP: '127.0.0.1:0' });
    assert.deepEqual(ways.map((way) => way.state), ['works', 'works', 'works', 'not-served']);
    assert.ok(ways.slice(0, 3).every((way) => way.ms > 0 && way.ms < 5000), JSON.stringify(ways));
    assert.match(ways[3].text, /turn\.tls is not set/);
    assert.match(said, /All 3 ways/);
  });

  test('a certificate that the browser does not trust, and allocations that there are none of', async () => {
    const [key, certificate] = ['own.key', 'own.pem'].map((name) => path.join(folder, name));
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    const tls = { VIDICON_TLS__CERTIFICATE: certificate, VIDICON_TLS__KEY: key, VIDICON_TLS__LISTEN: '127.0.0.1:0', VIDICON_TURN__TLS: '127.0.0.1:0' };
    const { ways, said } = await results({ ...tls, VIDICON_TURN__MAX_ALLOCATIONS: '0' });
    assert.deepEqual(ways.map((way) => way.state), ['works', 'fails', 'not-served', 'fails']);
    assert.match(ways[1].text, /486/);
    assert.match(ways[3].text, /certificate that this browser does not trust/);
    assert.match(said, /1 of 3 ways/);
  });

  test('a server without TURN says so', async () => {
    const { ways, said } = await results({ VIDICON_TURN__ENABLED: 'false' });
    assert.deepEqual(ways.map((way) => way.state), Array(4).fill('not-served'));
    assert.match(said, /neither STUN nor TURN/);
  });
});
