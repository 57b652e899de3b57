// What the tests in a browser share: the binary, Chromium, signing in, and reading the clock that is drawn into the demo's pictures.
import { chromium } from 'playwright-core';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const SHARED = process.env.VIDICON_SHARED ?? path.join(ROOT, '../shared');
export const KEY = 'TESTKEY';
export const SECRET = 'a secret of the tests';
const BINARY = process.env.VIDICON_BINARY ?? path.join(ROOT, 'target/debug/vidicon');
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

/** Why the tests of this file cannot run here, or false. */
export const missing = !CHROMIUM ? 'skipped: Chromium is not installed' : !existsSync(BINARY) ? `skipped: ${BINARY} is not built` : false;
/** The same for tests that need the shared camera farm. */
export const missingFarm = missing || (existsSync(path.join(SHARED, 'tools/camfarm.py')) ? false : 'skipped: ../shared is not here');

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Calls `look` until it gives something; fails with `what` (a text, or a function that gives one) after `limit` ms. */
export async function eventually(what, limit, look) {
  const until = Date.now() + limit;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > until) throw new Error(`not within ${limit} ms: ${typeof what === 'function' ? what() : what}${last ? ` (${last.message})` : ''}`);
    await sleep(100);
  }
}

/** A process whose output is kept line by line. */
export class Program {
  constructor(command, args, env = {}) {
    this.lines = [];
    this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      let rest = '';
      stream.on('data', (chunk) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop();
        this.lines.push(...lines);
      });
    }
    this.ended = new Promise((done) => this.child.on('exit', (code, signal) => done({ code, signal })));
  }
  line(pattern, limit = 20_000) {
    return eventually(() => `a line ${pattern} of ${this.child.spawnfile}; it said ${this.lines.slice(-5).join(' | ')}`, limit, () =>
      this.lines.map((l) => l.match(pattern)).find(Boolean));
  }
  async stop(signal = 'SIGINT') {
    this.child.kill(signal);
    const late = setTimeout(() => this.child.kill('SIGKILL'), 8000);
    const end = await this.ended;
    clearTimeout(late);
    return end;
  }
}

const credentials = { VIDICON_ROOT_ACCESS_KEY_ID: KEY, VIDICON_ROOT_SECRET_ACCESS_KEY: SECRET };

/** `vidicon demo` on a free port; resolves when its banner is out. */
export async function demo() {
  const program = new Program(BINARY, ['demo', '--listen', '127.0.0.1:0'], credentials);
  const [, url] = await program.line(/page\s+(http:\/\/\S+?)\/?$/, 60_000);
  await program.line(/^Alerts that/);
  return Object.assign(program, { url });
}

/** `vidicon serve` on a free port and a temporary folder. */
export async function serve(listen = '127.0.0.1:0', env = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'vidicon-test-'));
  const program = new Program(BINARY, ['serve', '--listen', listen, '--data', folder], { ...credentials, ...env });
  const [, url] = await program.line(/ready: (https?:\/\/\S+?)\/?$/, 30_000);
  program.ended.then(() => rmSync(folder, { recursive: true, force: true }));
  return Object.assign(program, { url });
}

/** The shared farm: RTSP cameras that loop a real clip. */
export async function farm(clip, port, ...flags) {
  const python = process.env.VIDICON_TEST_PYTHON ?? 'python3';
  const program = new Program(python, [path.join(SHARED, 'tools/camfarm.py'), path.join(SHARED, 'media', clip), '--port', String(port), ...flags]);
  const net = await import('node:net');
  await eventually(() => `the camera farm on port ${port}; it said ${program.lines.slice(-3).join(' | ')}`, 30_000, () => new Promise((done) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); done(true); });
    socket.on('error', () => done(false));
  }));
  return program;
}

/** A free TCP port. */
export async function freePort() {
  const net = await import('node:net');
  return new Promise((done) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => done(port)); });
  });
}

/** A request to the REST API with the tests' credentials. */
export async function api(url, method, route, body) {
  const headers = { authorization: 'Basic ' + Buffer.from(`${KEY}:${SECRET}`).toString('base64') };
  if (body) headers['content-type'] = 'application/json';
  const answer = await fetch(url + route, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${route}: ${answer.status} ${text.slice(0, 300)}`);
  return text ? JSON.parse(text) : null;
}

export async function browser(...more) {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--no-first-run',
      '--disable-sync', '--autoplay-policy=no-user-gesture-required', ...more],
  });
}

/** A page that is signed in through the form, as a person would; what goes wrong in it is collected in `page.problems`. */
export async function signedIn(chrome, url, options = {}) {
  const context = await chrome.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (m) => /content security policy/i.test(m.text()) && page.problems.push(m.text()));
  page.on('request', (r) => !/^(blob|data):/.test(r.url()) && !r.url().startsWith(url) && page.problems.push(`foreign request ${r.url()}`));
  await page.goto(url + '/');
  await page.fill('input[name=access_key_id]', KEY);
  await page.fill('input[name=secret_access_key]', SECRET);
  await Promise.all([page.waitForNavigation(), page.click('form button')]);
  return page;
}

/**
 * Reads the clock out of the picture that a <video> shows: two rows of 32 blocks, each a fortieth of the width, from the top left;
 * bits: 1 0, unix ms (42), frame counter (12), CRC-8 polynomial 7 over the first seven bytes. Runs in the page.
 * Gives {ms, counter, seen} or null when the picture has no clock.
 */
export function readClock(video) {
  const block = Math.floor(video.videoWidth / 40);
  if (!block || video.readyState < 2) return null;
  const canvas = document.createElement('canvas');
  canvas.width = 32 * block;
  canvas.height = 2 * block;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const bright = (x, y) => { const at = (y * canvas.width + x) * 4; return pixels[at] * 0.299 + pixels[at + 1] * 0.587 + pixels[at + 2] * 0.114 >= 128; };
  const bits = Array.from({ length: 64 }, (_, i) => bright((i % 32) * block + (block >> 1), (i >> 5) * block + (block >> 1)) ? 1 : 0);
  const number = (from, to) => bits.slice(from, to).reduce((n, bit) => n * 2 + bit, 0);
  let crc = 0;
  for (let byte = 0; byte < 7; byte++) {
    crc ^= number(byte * 8, byte * 8 + 8);
    for (let i = 0; i < 8; i++) crc = crc & 128 ? ((crc << 1) ^ 7) & 255 : (crc << 1) & 255;
  }
  if (number(0, 2) !== 2 || number(56, 64) !== crc) return null;
  return { ms: number(2, 44), counter: number(44, 56), seen: Date.now() };
}
