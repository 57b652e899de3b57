// AWS SDK for JavaScript v3 with its endpoint changed and nothing else: every command of its clients that is served.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BINARY = process.env.VIDICON_BINARY ?? path.join(ROOT, 'target/debug/vidicon');
// The packages lie in a folder of their own: `./run test` puts them there.
const PACKAGES = process.env.VIDICON_INTEROP_NPM ?? path.join(ROOT, '.vidicon-tools/interop-npm');
const missing = !existsSync(path.join(PACKAGES, 'node_modules/@aws-sdk')) ? `skipped: the AWS SDK for JavaScript is not installed in ${PACKAGES}`
  : !existsSync(BINARY) ? `skipped: ${BINARY} is not built` : false;

const credentials = { accessKeyId: 'TESTKEY', secretAccessKey: 'a secret of the tests' };
const rows = [...readFileSync(path.join(ROOT, 'docs/api.md'), 'utf8').matchAll(/^\| (\w+) \| `\S+` \| (served|not served|never[^|]*) \|/gm)];
const SERVED = new Set(rows.filter(([, , status]) => status === 'served').map(([, name]) => name));
// In this SDK, and not yet in the models of boto3, out of which the table is made.
const NEWER = ['GetScopedCredentials'];
const called = new Set();

describe('AWS SDK for JavaScript v3', { skip: missing }, () => {
  const sdk = {};
  let server, folder, endpoint;

  before(async () => {
    const require = createRequire(path.join(PACKAGES, 'package.json'));
    for (const [key, name] of Object.entries({ kvs: 'kinesis-video', media: 'kinesis-video-media', archive: 'kinesis-video-archived-media', signaling: 'kinesis-video-signaling', sts: 'sts' })) {
      sdk[key] = require(`@aws-sdk/client-${name}`);
    }
    folder = mkdtempSync(path.join(tmpdir(), 'vidicon-interop-'));
    server = spawn(BINARY, ['serve', '--listen', '127.0.0.1:0', '--data', folder], {
      env: { ...process.env, VIDICON_ROOT_ACCESS_KEY_ID: credentials.accessKeyId, VIDICON_ROOT_SECRET_ACCESS_KEY: credentials.secretAccessKey },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    server.stderr.resume();
    endpoint = await new Promise((done, failed) => {
      let text = '';
      server.stdout.on('data', (chunk) => {
        text += chunk;
        const banner = text.match(/ready: (http:\/\/\S+?)\/?\s/);
        if (banner) done(banner[1]);
      });
      server.on('exit', (code) => failed(new Error(`the server ended with ${code}: ${text}`)));
    });
  });
  after(async () => {
    for (const client of made.values()) client.destroy();
    if (server && server.exitCode === null) {
      const ended = new Promise((done) => server.on('exit', done));
      server.kill('SIGINT');
      setTimeout(() => server.kill('SIGKILL'), 8000).unref();
      await ended;
    }
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  const classes = { kvs: 'KinesisVideoClient', media: 'KinesisVideoMediaClient', archive: 'KinesisVideoArchivedMediaClient', signaling: 'KinesisVideoSignalingClient', sts: 'STSClient' };
  const made = new Map();
  function client(key, more = {}) {
    const name = key + JSON.stringify(more);
    if (!made.has(name)) made.set(name, new sdk[key][classes[key]]({ endpoint, region: 'us-east-1', credentials, ...more }));
    return made.get(name);
  }
  const serviceOf = (operation) => Object.keys(classes).find((key) => sdk[key][`${operation}Command`]);
  /** Sends a command by the name of its operation. */
  async function call(operation, input = {}, more = {}) {
    const key = serviceOf(operation);
    called.add(operation);
    return client(key, more).send(new sdk[key][`${operation}Command`](input));
  }
  const refused = (error, operation, input, more) => assert.rejects(call(operation, input, more), (found) => {
    assert.equal(found.name, error, found.message);
    const known = sdk[serviceOf(operation)][error];
    if (known) assert.ok(found instanceof known, 'an error of its own class');
    assert.ok(found.message && found.$metadata.requestId, 'a message and a request id');
    return true;
  });
  /** Whether a test can run; says which operations are not served. */
  function needs(t, ...operations) {
    const lacking = operations.filter((name) => !SERVED.has(name));
    if (lacking.length) {
      t.skip(`not served: ${lacking.join(', ')}`);
      for (const name of operations) called.add(name); // they will be
    }
    return !lacking.length;
  }
  /** What AWS has elsewhere: a request to the native API. */
  const native = (method, route, body) => fetch(endpoint + route, {
    method, body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', authorization: 'Basic ' + Buffer.from(`${credentials.accessKeyId}:${credentials.secretAccessKey}`).toString('base64') },
  });
  async function pages(operation, list, input) {
    const found = [];
    for (let NextToken; ;) {
      const page = await call(operation, { ...input, ...(NextToken && { NextToken }) });
      found.push(page[list]);
      if (!(NextToken = page.NextToken)) return found;
    }
  }

  test('streams', async (t) => {
    if (!needs(t, 'CreateStream', 'DescribeStream', 'ListStreams', 'UpdateStream', 'UpdateDataRetention', 'GetDataEndpoint', 'DeleteStream')) return;
    const { StreamARN } = await call('CreateStream', { StreamName: 'js', DataRetentionInHours: 2, MediaType: 'video/h264', Tags: { site: 'north' } });
    let { StreamInfo } = await call('DescribeStream', { StreamName: 'js' });
    assert.ok(StreamInfo.CreationTime instanceof Date && StreamARN.endsWith(`/${StreamInfo.CreationTime.getTime()}`));
    assert.equal(StreamInfo.DataRetentionInHours, 2);
    await call('UpdateStream', { StreamARN, CurrentVersion: StreamInfo.Version, DeviceName: 'door' });
    await refused('VersionMismatchException', 'UpdateStream', { StreamARN, CurrentVersion: StreamInfo.Version, DeviceName: 'window' });
    ({ StreamInfo } = await call('DescribeStream', { StreamARN }));
    await call('UpdateDataRetention', { StreamARN, CurrentVersion: StreamInfo.Version, Operation: 'DECREASE_DATA_RETENTION', DataRetentionChangeInHours: 1 });
    ({ StreamInfo } = await call('DescribeStream', { StreamARN }));
    assert.deepEqual([StreamInfo.DeviceName, StreamInfo.DataRetentionInHours], ['door', 1]);
    for (const APIName of Object.values(sdk.kvs.APIName)) assert.equal((await call('GetDataEndpoint', { StreamName: 'js', APIName })).DataEndpoint, endpoint);
    for (const n of [1, 2, 3, 4]) await call('CreateStream', { StreamName: `js-list-${n}` });
    const found = await pages('ListStreams', 'StreamInfoList', { MaxResults: 3, StreamNameCondition: { ComparisonOperator: 'BEGINS_WITH', ComparisonValue: 'js-list-' } });
    assert.deepEqual(found.map((page) => page.length), [3, 1]);
    await refused('ResourceInUseException', 'CreateStream', { StreamName: 'js' });
    await refused('InvalidArgumentException', 'CreateStream', { StreamName: 'a name' });
    await refused('InvalidArgumentException', 'CreateStream', {});
    await call('DeleteStream', { StreamARN });
    await refused('ResourceNotFoundException', 'DescribeStream', { StreamARN });
  });

  test('tags', async (t) => {
    if (!needs(t, 'CreateStream', 'TagStream', 'UntagStream', 'ListTagsForStream', 'TagResource', 'UntagResource', 'ListTagsForResource')) return;
    const { StreamARN } = await call('CreateStream', { StreamName: 'js-tags' });
    await call('TagStream', { StreamName: 'js-tags', Tags: { site: 'north', floor: '2' } });
    await call('TagResource', { ResourceARN: StreamARN, Tags: [{ Key: 'door', Value: 'ö/ö' }].map((tag) => ({ ...tag, Value: 'a b' })) });
    assert.deepEqual((await call('ListTagsForStream', { StreamARN })).Tags, { site: 'north', floor: '2', door: 'a b' });
    await call('UntagStream', { StreamName: 'js-tags', TagKeyList: ['site'] });
    await call('UntagResource', { ResourceARN: StreamARN, TagKeyList: ['floor'] });
    assert.deepEqual((await call('ListTagsForResource', { ResourceARN: StreamARN })).Tags, { door: 'a b' });
    const Tags = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`k${i}`, 'v']));
    await refused('TagsPerResourceExceededLimitException', 'TagStream', { StreamARN, Tags });
  });

  test('settings of streams', async (t) => {
    if (!needs(t, 'CreateStream', 'DescribeStream')) return;
    const StreamName = 'js-settings';
    const { StreamARN } = await call('CreateStream', { StreamName, DataRetentionInHours: 24 });
    await t.test('notifications', async (t) => {
      if (!needs(t, 'UpdateNotificationConfiguration', 'DescribeNotificationConfiguration')) return;
      const target = await native('POST', '/v1/targets', { name: 'doors', url: 'https://hooks.example/', secret: 'a secret of the target' });
      assert.equal(target.status, 201);
      const NotificationConfiguration = { Status: 'ENABLED', DestinationConfig: { Uri: 'arn:aws:sns:us-east-1:123456789012:doors' } };
      await call('UpdateNotificationConfiguration', { StreamName, NotificationConfiguration });
      assert.deepEqual((await call('DescribeNotificationConfiguration', { StreamARN })).NotificationConfiguration, NotificationConfiguration);
    });
    await t.test('images', async (t) => {
      if (!needs(t, 'UpdateImageGenerationConfiguration', 'DescribeImageGenerationConfiguration')) return;
      const ImageGenerationConfiguration = {
        Status: 'ENABLED', ImageSelectorType: 'PRODUCER_TIMESTAMP', SamplingInterval: 500, Format: 'JPEG', FormatConfig: { JPEGQuality: '90' },
        DestinationConfig: { Uri: 's3://bucket/prefix', DestinationRegion: 'eu-central-1' },
      };
      await call('UpdateImageGenerationConfiguration', { StreamName, ImageGenerationConfiguration });
      assert.deepEqual((await call('DescribeImageGenerationConfiguration', { StreamARN })).ImageGenerationConfiguration, ImageGenerationConfiguration);
      await call('CreateStream', { StreamName: 'js-no-retention' });
      await refused('NoDataRetentionException', 'UpdateImageGenerationConfiguration', { StreamName: 'js-no-retention', ImageGenerationConfiguration });
    });
    await t.test('storage', async (t) => {
      if (!needs(t, 'UpdateStreamStorageConfiguration', 'DescribeStreamStorageConfiguration')) return;
      const { StreamInfo } = await call('DescribeStream', { StreamName });
      await call('UpdateStreamStorageConfiguration', { StreamName, CurrentVersion: StreamInfo.Version, StreamStorageConfiguration: { DefaultStorageTier: 'WARM' } });
      assert.equal((await call('DescribeStreamStorageConfiguration', { StreamARN })).StreamStorageConfiguration.DefaultStorageTier, 'WARM');
    });
    await t.test('edge', async (t) => {
      if (!needs(t, 'StartEdgeConfigurationUpdate', 'DescribeEdgeConfiguration', 'DeleteEdgeConfiguration', 'ListEdgeAgentConfigurations')) return;
      const HubDeviceArn = 'arn:aws:iot:us-east-1:123456789012:thing/js-hub';
      const MediaSourceConfig = { MediaUriSecretArn: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:camera', MediaUriType: 'RTSP_URI' };
      const told = await call('StartEdgeConfigurationUpdate', { StreamName, EdgeConfig: { HubDeviceArn, RecorderConfig: { MediaSourceConfig } } });
      assert.ok(told.CreationTime instanceof Date && told.LastUpdatedTime instanceof Date);
      assert.deepEqual((await call('DescribeEdgeConfiguration', { StreamARN })).EdgeConfig.RecorderConfig, { MediaSourceConfig });
      assert.deepEqual((await call('ListEdgeAgentConfigurations', { HubDeviceArn })).EdgeConfigs.map((c) => c.StreamARN), [StreamARN]);
      await call('DeleteEdgeConfiguration', { StreamName });
      await call('CreateStream', { StreamName: 'js-no-edge' });
      await refused('StreamEdgeConfigurationNotFoundException', 'DescribeEdgeConfiguration', { StreamName: 'js-no-edge' });
    });
  });

  test('channels', async (t) => {
    if (!needs(t, 'CreateSignalingChannel', 'DescribeSignalingChannel', 'ListSignalingChannels', 'UpdateSignalingChannel', 'DeleteSignalingChannel',
      'GetSignalingChannelEndpoint', 'DescribeMediaStorageConfiguration', 'UpdateMediaStorageConfiguration', 'DescribeMappedResourceConfiguration', 'CreateStream')) return;
    const { ChannelARN } = await call('CreateSignalingChannel', { ChannelName: 'js', Tags: [{ Key: 'site', Value: 'north' }] });
    const { ChannelInfo } = await call('DescribeSignalingChannel', { ChannelName: 'js' });
    assert.ok(ChannelARN.endsWith(`/${ChannelInfo.CreationTime.getTime()}`));
    await call('UpdateSignalingChannel', { ChannelARN, CurrentVersion: ChannelInfo.Version, SingleMasterConfiguration: { MessageTtlSeconds: 30 } });
    await refused('VersionMismatchException', 'UpdateSignalingChannel', { ChannelARN, CurrentVersion: ChannelInfo.Version });
    for (const n of [1, 2, 3]) await call('CreateSignalingChannel', { ChannelName: `js-list-${n}` });
    const found = await pages('ListSignalingChannels', 'ChannelInfoList', { MaxResults: 2, ChannelNameCondition: { ComparisonOperator: 'BEGINS_WITH', ComparisonValue: 'js-list-' } });
    assert.deepEqual(found.map((page) => page.length), [2, 1]);
    // What the WebRTC sample does before it connects (REFERENCE §1.7).
    assert.equal((await call('DescribeMediaStorageConfiguration', { ChannelName: 'js' })).MediaStorageConfiguration.Status, 'DISABLED');
    const { ResourceEndpointList } = await call('GetSignalingChannelEndpoint', { ChannelARN, SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS', 'HTTPS'], Role: 'MASTER' } });
    assert.deepEqual(ResourceEndpointList.map((e) => e.Protocol).sort(), ['HTTPS', 'WSS']);
    if (SERVED.has('SendAlexaOfferToMaster')) {
      await refused('ResourceNotFoundException', 'SendAlexaOfferToMaster', { ChannelARN, SenderClientId: 'js', MessagePayload: 'b2ZmZXI=' });
    }
    if (SERVED.has('GetIceServerConfig')) {
      const { IceServerList } = await call('GetIceServerConfig', { ChannelARN, ClientId: 'js', Service: 'TURN' });
      assert.ok(IceServerList.length > 0 && IceServerList.every((one) => one.Uris.every((uri) => /^turns?:/.test(uri)) && one.Ttl >= 30));
    }
    const { StreamARN } = await call('CreateStream', { StreamName: 'js-of-channel', DataRetentionInHours: 1 });
    await call('UpdateMediaStorageConfiguration', { ChannelARN, MediaStorageConfiguration: { Status: 'ENABLED', StreamARN } });
    assert.deepEqual((await call('DescribeMappedResourceConfiguration', { StreamARN })).MappedResourceConfigurationList.map((m) => m.ARN), [ChannelARN]);
    await refused('ResourceInUseException', 'DeleteSignalingChannel', { ChannelARN });
    await call('UpdateMediaStorageConfiguration', { ChannelARN, MediaStorageConfiguration: { Status: 'DISABLED' } });
    await call('DeleteSignalingChannel', { ChannelARN });
    await refused('ResourceNotFoundException', 'DescribeSignalingChannel', { ChannelARN });
  });

  test('media', async (t) => {
    if (!needs(t, 'CreateStream', 'PutMedia', 'GetMedia', 'ListFragments', 'GetMediaForFragmentList')) return;
    const StreamName = 'js-media';
    await call('CreateStream', { StreamName, DataRetentionInHours: 24 });
    const { session, clusters } = await produced(StreamName);
    const found = (await pages('ListFragments', 'Fragments', { StreamName, MaxResults: 2 })).flat().sort((a, b) => (a.FragmentNumber < b.FragmentNumber ? -1 : 1));
    assert.deepEqual(found.map((f) => f.FragmentNumber), session);
    assert.equal(found[0].ProducerTimestamp.getTime(), 1_700_000_000_000);
    const range = { FragmentSelectorType: 'PRODUCER_TIMESTAMP', TimestampRange: { StartTimestamp: new Date(1_700_000_001_000), EndTimestamp: new Date(1_700_000_001_000) } };
    assert.deepEqual((await call('ListFragments', { StreamName, FragmentSelector: range })).Fragments.map((f) => f.FragmentNumber), [session[1]]);
    range.TimestampRange = { StartTimestamp: new Date(1_700_000_000_001), EndTimestamp: new Date(1_700_000_001_999) };
    assert.deepEqual((await call('ListFragments', { StreamName, FragmentSelector: range })).Fragments.map((f) => f.FragmentNumber), [session[1]], 'to the millisecond');
    const { Payload, ContentType } = await call('GetMediaForFragmentList', { StreamName, Fragments: [...session].reverse() });
    assert.equal(ContentType, 'video/webm');
    const bytes = Buffer.from(await Payload.transformToByteArray());
    const at = clusters.map((cluster) => bytes.indexOf(cluster));
    assert.ok(at[2] > 0 && at[2] < at[1] && at[1] < at[0], 'the clusters, byte by byte, in the order asked for');
    const live = await call('GetMedia', { StreamName, StartSelector: { StartSelectorType: 'EARLIEST' } });
    let read = Buffer.alloc(0);
    for await (const chunk of live.Payload) {
      read = Buffer.concat([read, chunk]);
      if (clusters.every((cluster) => read.includes(cluster))) break; // hangs up
    }
    await refused('ResourceNotFoundException', 'GetMedia', { StreamName: 'no-such-stream', StartSelector: { StartSelectorType: 'NOW' } });
  });

  /** Three fragments by PutMedia, which the SDK has not: fetch with the SDK's own signer. */
  async function produced(stream) {
    const require = createRequire(path.join(PACKAGES, 'package.json'));
    const { signer } = client('kvs').config;
    const { HttpRequest } = require('@smithy/core/protocols');
    const element = (id, data) => Buffer.concat([Buffer.from(id, 'hex'), Buffer.from((0x10000000 + data.length).toString(16), 'hex'), data]);
    const cluster = (ms) => {
      const time = Buffer.alloc(8);
      time.writeBigUInt64BE(BigInt(ms));
      return element('1f43b675', Buffer.concat([element('e7', time), element('a3', Buffer.concat([Buffer.from('81000080', 'hex'), Buffer.alloc(100, ms % 251)]))]));
    };
    const track = element('ae', Buffer.concat([element('d7', Buffer.from([1])), element('73c5', Buffer.from([1])), element('83', Buffer.from([1])), element('86', Buffer.from('V_MPEG4/ISO/AVC'))]));
    const head = Buffer.concat([element('1a45dfa3', element('4282', Buffer.from('matroska'))), Buffer.from('1853806701ffffffffffffff', 'hex'),
      element('1549a966', element('2ad7b1', Buffer.from([0x0f, 0x42, 0x40]))), element('1654ae6b', track)]);
    const clusters = [0, 1, 2].map((i) => cluster(1_700_000_000_000 + i * 1000));
    const url = new URL(endpoint);
    const request = new HttpRequest({
      method: 'POST', protocol: 'http:', hostname: url.hostname, port: Number(url.port), path: '/putMedia',
      headers: { host: url.host, 'x-amzn-stream-name': stream, 'x-amzn-fragment-timecode-type': 'ABSOLUTE', 'x-amzn-producer-start-timestamp': '1700000000.000', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
    });
    const signed = await (await signer()).sign(request, { signingService: 'kinesisvideo', signingRegion: 'us-east-1' });
    delete signed.headers.host;
    const answer = await fetch(`${endpoint}/putMedia`, { method: 'POST', headers: signed.headers, body: Buffer.concat([head, ...clusters]) });
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    const acks = text.split('\n').flatMap((line) => line.split(/(?<=})(?={)/)).filter(Boolean).map((line) => JSON.parse(line));
    return { session: acks.filter((a) => a.EventType === 'PERSISTED').map((a) => a.FragmentNumber), clusters };
  }

  test('STS and its sessions', async (t) => {
    if (!needs(t, 'GetCallerIdentity', 'GetSessionToken', 'ListStreams')) return;
    assert.equal((await call('GetCallerIdentity')).Account, '123456789012');
    const { Credentials: given } = await call('GetSessionToken', { DurationSeconds: 900 });
    assert.ok(given.Expiration instanceof Date);
    const session = { accessKeyId: given.AccessKeyId, secretAccessKey: given.SecretAccessKey, sessionToken: given.SessionToken };
    await call('ListStreams', {}, { credentials: session });
    await refused('UnrecognizedClientException', 'ListStreams', {}, { credentials: { ...session, sessionToken: 'made up' } });
  });

  test('a role that is assumed', async (t) => {
    if (!needs(t, 'AssumeRole', 'ListStreams')) return;
    const trust = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: { AWS: 'arn:aws:iam::123456789012:root' }, Action: 'sts:AssumeRole' }] };
    const inline_policy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'kinesisvideo:ListStreams', Resource: '*' }] };
    const answer = await native('POST', '/v1/roles', { name: 'js', trust, inline_policy });
    if (answer.status === 404) return t.skip('not served: /v1/roles');
    assert.equal(answer.status, 201, await answer.text());
    const { Credentials: given, AssumedRoleUser } = await call('AssumeRole', { RoleArn: 'arn:aws:iam::123456789012:role/js', RoleSessionName: 'page' });
    assert.match(AssumedRoleUser.Arn, /assumed-role\/js\/page$/);
    const session = { accessKeyId: given.AccessKeyId, secretAccessKey: given.SecretAccessKey, sessionToken: given.SessionToken };
    await call('ListStreams', {}, { credentials: session });
    if (SERVED.has('CreateStream')) await refused('AccessDeniedException', 'CreateStream', { StreamName: 'js-not-allowed' }, { credentials: session });
  });

  test('a role by the token of an identity provider', async (t) => {
    if (!needs(t, 'AssumeRoleWithWebIdentity', 'ListStreams')) return;
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const provider = http.createServer((request, answer) => {
      const body = request.url === '/keys' ? { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'js', alg: 'ES256', use: 'sig' }] } : { issuer, jwks_uri: `${issuer}/keys` };
      answer.end(JSON.stringify(body));
    });
    await new Promise((done) => provider.listen(0, '127.0.0.1', done));
    t.after(() => provider.close());
    const issuer = `http://127.0.0.1:${provider.address().port}`;
    const text = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const exp = Math.floor(Date.now() / 1000) + 600;
    const claims = `${text({ alg: 'ES256', kid: 'js', typ: 'JWT' })}.${text({ iss: issuer, aud: 'page', sub: 'ann', exp, iat: exp - 601 })}`;
    const token = `${claims}.${sign('sha256', Buffer.from(claims), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
    assert.equal((await native('POST', '/v1/oidc-providers', { url: issuer, client_ids: ['page'], allow_local: true })).status, 201);
    const Principal = { Federated: `arn:aws:iam::123456789012:oidc-provider/${issuer.slice(7)}` };
    const trust = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal, Action: 'sts:AssumeRoleWithWebIdentity', Condition: { StringEquals: { [`${issuer.slice(7)}:aud`]: 'page' } } }] };
    const inline_policy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'kinesisvideo:ListStreams', Resource: '*' }] };
    assert.equal((await native('POST', '/v1/roles', { name: 'js-web', trust, inline_policy })).status, 201);
    const { Credentials: given } = await call('AssumeRoleWithWebIdentity', { RoleArn: 'arn:aws:iam::123456789012:role/js-web', RoleSessionName: 'page', WebIdentityToken: token });
    await call('ListStreams', {}, { credentials: { accessKeyId: given.AccessKeyId, secretAccessKey: given.SecretAccessKey, sessionToken: given.SessionToken } });
  });

  test('strangers, and a clock that is off', async (t) => {
    if (!needs(t, 'ListStreams')) return;
    await refused('InvalidSignatureException', 'ListStreams', {}, { credentials: { ...credentials, secretAccessKey: 'wrong' } });
    await refused('UnrecognizedClientException', 'ListStreams', {}, { credentials: { ...credentials, accessKeyId: 'AKIDNOBODY' } });
    // The SDK sees by the Date of the refusal that its clock is wrong, and tries again by the server's.
    const late = client('kvs', { systemClockOffset: -20 * 60_000 });
    await late.send(new sdk.kvs.ListStreamsCommand({}));
    assert.ok(Math.abs(late.config.systemClockOffset) < 5000, `the clock is still off by ${late.config.systemClockOffset} ms`);
    await assert.rejects(client('kvs', { systemClockOffset: 20 * 60_000, maxAttempts: 1 }).send(new sdk.kvs.ListStreamsCommand({})), /Signature not yet current/);
  });

  test('none was forgotten', () => {
    const all = Object.keys(classes).flatMap((key) => Object.keys(sdk[key]).filter((name) => /^[A-Z]\w+Command$/.test(name)).map((name) => name.slice(0, -7)));
    assert.ok(all.length > 40);
    assert.deepEqual(all.filter((name) => SERVED.has(name) && !called.has(name)), [], 'served, and not tried with this SDK');
    assert.deepEqual(all.filter((name) => !rows.some(([, row]) => row === name)), NEWER, 'in the SDK, and not in docs/api.md');
  });
});
