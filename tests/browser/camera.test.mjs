// A channel that shows a camera: viewers with the AWS SDK for WebRTC in JavaScript, unmodified, see an RTSP camera, whose master the server is.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { KEY, SECRET, eventually, farm, freePort, missingFarm, sleep } from './lib.mjs';
import { look, master, missing, start, viewer } from './sdk.mjs';

describe('a channel that shows a camera', { skip: missing || missingFarm }, () => {
  let tools, cameras;
  before(async () => (tools = await start()));
  after(async () => {
    await cameras?.stop('SIGKILL');
    await tools?.stop();
  });

  test('viewers see it, and learn why where they cannot', async () => {
    const rtsp = await freePort();
    cameras = await farm('street-cars_640x352_h264_24fps_gop48.mp4', rtsp);
    const at = [await tools.page(), await tools.page()];
    const ask = (...request) => tools.ask(at[0], ...request);
    await ask('POST', '/createStream', { StreamName: 'dark', DataRetentionInHours: 1 });
    await ask('POST', '/v1/cameras', { name: 'street', url: `rtsp://127.0.0.1:${rtsp}/cam0` });
    const { ChannelARN: arn } = await ask('POST', '/createSignalingChannel', { ChannelName: 'road' });
    const show = async (stream) => {
      await ask('PUT', '/v1/channels/road/source', { stream });
      await eventually(`the channel shows ${stream}`, 5000, async () => (await ask('GET', '/v1/channels/road/presence')).master?.stream === stream);
    };
    await show('dark');
    const waiting = at[0].evaluate(viewer, { config: await tools.config(at[0], arn, 'VIEWER'), clientId: 'ann' });
    waiting.catch(() => {});
    await eventually('a reason', 10_000, async () => (await at[0].evaluate(() => window.log)).some((line) => line.includes('dark has sent no picture')));
    await at[0].context().close();
    at[0] = await tools.page();

    await eventually('the camera is live', 20_000, async () => (await ask('GET', '/v1/cameras/street')).status.state === 'live');
    await show('street');
    for (const [index, clientId] of ['ann', 'bob'].entries()) {
      const took = await at[index].evaluate(viewer, { config: await tools.config(at[index], arn, 'VIEWER'), clientId });
      assert.ok(took < 5000, `connected after ${took} ms`);
    }
    for (const viewing of at) {
      const first = await eventually('a picture', 15_000, async () => {
        const seen = await viewing.evaluate(look);
        return seen.spread > 40 && seen.shown > 0 ? seen : null;
      });
      assert.deepEqual(first.size, [640, 352]);
      await eventually('more pictures', 10_000, async () => (await viewing.evaluate(look)).shown > first.shown + 20);
    }
    await assert.rejects(at[0].evaluate(master, { config: await tools.config(at[0], arn, 'MASTER'), colour: 'rgb(0, 0, 0)' }), undefined, 'no other master connects');
    const deleted = await at[1].evaluate(async ([url, authorization]) => (await fetch(url, { method: 'DELETE', headers: { authorization } })).status,
      [`${tools.url}/v1/channels/road/source`, 'Basic ' + Buffer.from(`${KEY}:${SECRET}`).toString('base64')]);
    assert.equal(deleted, 204);
    const last = await at[1].evaluate(look);
    await sleep(2000);
    assert.ok((await at[1].evaluate(look)).shown < last.shown + 15, 'the pictures end with the mapping');
    for (const open of at) await open.context().close();
  });
});
