// How long and how much of a stream is kept: what the page shows of it, and the form that changes it, by keyboard too.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { api, browser, eventually, missing, serve, signedIn } from './lib.mjs';

describe('what is kept of a stream', { skip: missing }, () => {
  let server, chrome, page;

  const kept = async () => {
    const { streams } = await api(server.url, 'GET', '/v1/streams');
    const { retention_hours, quota_bytes, at_quota } = streams.find((s) => s.name === 'yard');
    return { retention_hours, quota_bytes, at_quota };
  };
  const section = () => page.locator('.kept');
  const says = (pattern) => eventually(`the section says ${pattern}`, 10_000, async () => pattern.test(await section().innerText()));
  const edit = () => page.getByRole('button', { name: 'Change what is kept' });

  before(async () => {
    server = await serve();
    await api(server.url, 'POST', '/createStream', { StreamName: 'yard', DataRetentionInHours: 24 });
    chrome = await browser();
    page = await signedIn(chrome, server.url);
    await page.goto(`${server.url}/#/camera/yard`);
  });
  after(async () => {
    await chrome?.close();
    await server?.stop();
  });

  test('it says what is kept and used, of the stream and of all', async () => {
    await says(/0\sB used, no limit of its own[^]*Kept for 24 h[^]*All streams together: .*; the disk has .* free/);
    assert.match(await page.locator('main').innerText(), /Nothing was recorded yet/);
  });

  test('by keyboard alone: a time, a limit and what happens there', async () => {
    await edit().focus();
    await page.keyboard.press('Enter');
    // The first choice has the focus; days, a limit of 1.5 GB, and what is new is refused.
    await eventually('the focus in the form', 5000, () => page.evaluate(() => document.activeElement?.type === 'radio'));
    await page.keyboard.press('Tab');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('3');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('1.5');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Enter');
    await says(/of 1\.5\sGB[^]*Kept for 3 d; at most 1\.5\sGB, then new recordings are refused/);
    assert.deepEqual(await kept(), { retention_hours: 72, quota_bytes: 1_500_000_000, at_quota: 'refuse' });
    assert.equal(await page.getByRole('meter', { name: 'Of its limit' }).getAttribute('aria-valuenow'), '0');
    await eventually('the focus where the form was opened', 5000, () => edit().evaluate((b) => b === document.activeElement));
  });

  test('Escape changes nothing, and what cannot be meant is not sent', async () => {
    const before = await kept();
    await edit().click();
    await page.getByLabel('Time', { exact: true }).fill('soon');
    assert.match(await section().innerText(), /an hour or more/);
    assert.ok(await page.getByRole('button', { name: 'Save' }).isDisabled());
    await page.getByLabel('Time', { exact: true }).fill('9');
    await page.keyboard.press('Escape');
    await says(/Kept for 3 d/);
    assert.deepEqual(await kept(), before);
  });

  test('a refusal of the server is said, and the form stays', async () => {
    const refused = { status: 403, contentType: 'application/json', body: '{"error":{"code":"access_denied","message":"this key may not do that"}}' };
    await page.route('**/v1/streams/yard', (route) => (route.request().method() === 'PATCH' ? route.fulfill(refused) : route.continue()));
    await edit().click();
    await page.getByText('For ever').click();
    await page.getByRole('button', { name: 'Save' }).click();
    await says(/this key may not do that/);
    await page.unroute('**/v1/streams/yard');
    await page.getByRole('button', { name: 'Save' }).click();
    await says(/Kept for ever/);
    assert.equal((await kept()).retention_hours, null);
  });

  test('who shortens is told what goes, and a full stream says that it refuses', async () => {
    // As after weeks of recording.
    await page.route('**/v1/streams', async (route) => {
      const answer = await route.fetch();
      const { streams } = await answer.json();
      await route.fulfill({ response: answer, json: { streams: streams.map((s) => ({ ...s, bytes: 1_600_000_000, refusing: true, refused: 12 })) } });
    });
    await says(/1\.6\sGB of 1\.5\sGB[^]*refused, 12 fragments so far/);
    await edit().click();
    await page.getByText('For a time').click();
    await page.getByLabel('Time', { exact: true }).fill('12');
    await page.getByLabel('Unit of time').selectOption('hours');
    await says(/older than 12 h are deleted within a minute, for good/);
    await page.getByRole('button', { name: 'Save and delete' }).click();
    await says(/Kept for 12 h/);
    assert.equal((await kept()).retention_hours, 12);
    assert.deepEqual(page.problems, []);
  });

  for (const [size, width] of Object.entries({ phone: 360, tablet: 820, wide: 1440 })) {
    test(`nothing of it is cut off on a ${size}`, async () => {
      await page.setViewportSize({ width, height: 900 });
      await edit().click();
      assert.ok(await section().evaluate((s) => [s, ...s.querySelectorAll('*')].every((e) => e.getBoundingClientRect().right <= innerWidth + 0.5)));
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      await page.keyboard.press('Escape');
    });
  }
});
