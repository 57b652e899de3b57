// The AWS SDK for WebRTC in JavaScript, unmodified, as master and as viewer: real peer connections that find each other over this server, and the
// picture that the one draws read in what the other shows.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually, sleep } from './lib.mjs';
import { look, master, missing, start, viewer } from './sdk.mjs';

describe('the WebRTC SDK for JavaScript', { skip: missing }, () => {
  let tools, arn;
  before(async () => (tools = await start()));
  after(() => tools?.stop());
  const page = () => tools.page();
  const config = (at, role) => tools.config(at, arn, role);
  const presence = (at) => tools.ask(at, 'GET', '/v1/channels/door/presence');

  test('a viewer sees the moving picture of its master, and another viewer too', async () => {
    const of = await page();
    ({ ChannelARN: arn } = await tools.ask(of, 'POST', '/createSignalingChannel', { ChannelName: 'door' }));
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
