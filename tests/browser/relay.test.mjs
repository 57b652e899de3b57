// The AWS SDK for WebRTC in JavaScript with nothing but this server's TURN: master and viewer have the servers of GetIceServerConfig and the policy
// "relay", so that every packet of the picture goes through two allocations here.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from './lib.mjs';
import { look, master, missing, start, viewer } from './sdk.mjs';

/** Runs in the page: the pair of candidates that is in use. */
async function pair() {
  const all = await window.peer.getStats();
  const of = (id) => all.get(id);
  const transport = [...all.values()].find((stat) => stat.type === 'transport');
  const chosen = transport && of(transport.selectedCandidatePairId);
  if (!chosen) return null;
  const [local, remote] = [of(chosen.localCandidateId), of(chosen.remoteCandidateId)];
  return { local: local.candidateType, by: local.relayProtocol, remote: remote.candidateType };
}

describe('the WebRTC SDK for JavaScript through TURN alone', { skip: missing }, () => {
  let tools;
  before(async () => (tools = await start({ VIDICON_TURN__TCP: '127.0.0.1:0' })));
  after(() => tools?.stop());

  /** `iceServers` as GetIceServerConfig gives them, those of one transport. */
  async function relayOnly(at, arn, transport) {
    const { IceServerList } = await tools.ask(at, 'POST', '/v1/get-ice-server-config', { ChannelARN: arn });
    const iceServers = IceServerList.map(({ Uris, Username, Password }) => (
      { urls: Uris.filter((uri) => uri.startsWith('turn:') && uri.endsWith(`transport=${transport}`)), username: Username, credential: Password }));
    assert.ok(iceServers[0].urls.length === 1, JSON.stringify(IceServerList));
    return { iceServers, iceTransportPolicy: 'relay' };
  }

  for (const [transport, viewers] of [['udp', 'udp'], ['tcp', 'tcp'], ['udp', 'tcp']]) {
    test(`a viewer over ${viewers} sees the moving picture of a master over ${transport}`, async () => {
      const [of, at] = [await tools.page(), await tools.page()];
      const { ChannelARN: arn } = await tools.ask(of, 'POST', '/createSignalingChannel', { ChannelName: `${transport}-${viewers}` });
      await of.evaluate(master, { config: await tools.config(of, arn, 'MASTER'), colour: 'rgb(200, 30, 30)', rtc: await relayOnly(of, arn, transport) });
      const took = await at.evaluate(viewer, { config: await tools.config(at, arn, 'VIEWER'), clientId: 'ann', rtc: await relayOnly(at, arn, viewers) });
      assert.ok(took < 5000, `connected after ${took} ms`);
      const first = await eventually('a picture', 15_000, async () => {
        const shown = await at.evaluate(look);
        return shown.left[0] > 120 && shown.shown > 2 ? shown : null;
      });
      assert.ok(first.left[0] > 150 && first.left[1] < 90 && first.left[2] < 90, `red: ${first.left}`);
      await eventually('a picture that moves', 10_000, async () => {
        const later = await at.evaluate(look);
        return later.shown > first.shown + 25 && Math.abs(later.right[2] - first.right[2]) > 20;
      });
      assert.deepEqual(await at.evaluate(pair), { local: 'relay', by: viewers, remote: 'relay' });
      for (const page of [of, at]) await page.context().close();
    });
  }

  test('without a relay there is no way: the policy is what it says', async () => {
    const [of, at] = [await tools.page(), await tools.page()];
    const { ChannelARN: arn } = await tools.ask(of, 'POST', '/createSignalingChannel', { ChannelName: 'other' });
    const { ChannelARN: another } = await tools.ask(of, 'POST', '/createSignalingChannel', { ChannelName: 'another' });
    await of.evaluate(master, { config: await tools.config(of, arn, 'MASTER'), colour: 'rgb(30, 30, 200)', rtc: await relayOnly(of, arn, 'udp') });
    // Credentials of another channel: both have a relay, and neither lets the other through.
    const stranger = { config: await tools.config(at, arn, 'VIEWER'), clientId: 'eve', rtc: await relayOnly(at, another, 'udp') };
    const ended = await at.evaluate(`(${viewer})(${JSON.stringify(stranger)}).then(() => 'connected', (error) => error.message)`);
    assert.match(ended, /failed/);
    for (const page of [of, at]) await page.context().close();
  });
});
