import { readFile } from 'node:fs/promises';
import { clockAheadMs, judgeClock } from './clock.ts';
import { checkConnection, deadlineMs, messageOf } from './connect.ts';
import { Section } from './section.ts';

type Env = Readonly<Record<string, string | undefined>>;

interface Answer {
  readonly status: number;
  readonly json: Readonly<Record<string, unknown>>;
  readonly aheadMs: number | undefined;
}

/** A gateway that runs, as its clients see it. */
export async function checkGateway(server: string | undefined, env: Env): Promise<Section> {
  const section = new Section('gateway');
  if (server === undefined || server === '') {
    section.note('server', 'not looked at: name one with --server URL or PARTWAY_URL');
    return section;
  }
  const url = URL.parse(server);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    section.fault('server', 2, '--server, PARTWAY_URL: wanted: a URL that begins with http:// or https://');
    return section;
  }
  if (await checkConnection(section, url)) await askGateway(section, url, env);
  return section;
}

async function askGateway(section: Section, url: URL, env: Env): Promise<void> {
  const health = await ask(section, 'healthz', url);
  if (health === undefined) return;
  if (health.status !== 200 || health.json.status !== 'ok') {
    section.fault('healthz', 2, `${url.origin} answers /healthz with ${health.status}: this is no gateway of Partway`);
    return;
  }
  section.ok('healthz', 'the gateway answers');
  judgeClock(section, 'the gateway', health.aheadMs);
  await checkReadiness(section, url);
  await checkVersion(section, url);
  await checkKey(section, url, env);
}

async function checkReadiness(section: Section, url: URL): Promise<void> {
  const ready = await ask(section, 'readyz', url);
  if (ready === undefined) return;
  if (ready.status === 200) return section.ok('readyz', 'its records and its store answer');
  const failing = Object.keys(ready.json).filter((name) => name !== 'status' && ready.json[name] !== 'ok');
  section.fault(
    'readyz',
    5,
    `it is not ready: ${failing.join(' and ') || `status ${ready.status}`} cannot be used now`,
    {
      failing,
    },
  );
}

async function checkVersion(section: Section, url: URL): Promise<void> {
  const openapi = await ask(section, 'openapi.json', url);
  const { version } = (openapi?.json.info ?? {}) as { version?: string };
  if (version !== undefined) section.note('version', `it speaks version ${version} of the API`, { version });
}

async function checkKey(section: Section, url: URL, env: Env): Promise<void> {
  const key = await readKey(section, url, env);
  if (key === false) return;
  const answer = await ask(section, 'uploads?limit=1', url, key);
  if (answer === undefined) return;
  const { status, json } = answer;
  if (status === 200) {
    section.ok('auth', key === undefined ? 'it lets anybody in who reaches it' : 'the API key is taken');
  } else if (status === 401 || status === 403) {
    const detail = typeof json.detail === 'string' ? json.detail : `status ${status}`;
    const hint = key === undefined ? ' Set PARTWAY_API_KEY or PARTWAY_API_KEY_FILE.' : '';
    section.fault('auth', 6, `${detail}${hint}`);
  } else {
    section.fault('auth', status >= 500 ? 5 : 1, `GET /uploads is answered with ${status}`);
  }
}

/** @returns `false`: one is named and cannot be read */
async function readKey(section: Section, url: URL, env: Env): Promise<string | undefined | false> {
  if (url.password !== '') return decodeURIComponent(url.password);
  if (env.PARTWAY_API_KEY) return env.PARTWAY_API_KEY;
  if (!env.PARTWAY_API_KEY_FILE) return undefined;
  try {
    return (await readFile(env.PARTWAY_API_KEY_FILE, 'utf8')).trim();
  } catch (error) {
    section.fault('auth', 2, `PARTWAY_API_KEY_FILE: ${messageOf(error)}`);
    return false;
  }
}

async function ask(section: Section, path: string, url: URL, key?: string): Promise<Answer | undefined> {
  // A gateway may be mounted under a path.
  const target = new URL(`${url.origin}${url.pathname.replace(/\/$/, '')}/${path}`);
  const askedAt = Date.now();
  try {
    const response = await fetch(target, {
      headers: key === undefined ? {} : { Authorization: `Bearer ${key}` },
      redirect: 'manual',
      signal: AbortSignal.timeout(deadlineMs),
    });
    const aheadMs = clockAheadMs(response.headers.get('date'), askedAt, Date.now());
    const json: unknown = await response.json().catch(() => ({}));
    return { status: response.status, json: json as Answer['json'], aheadMs };
  } catch (error) {
    section.fault(path.replace(/\?.*/, ''), 5, `GET /${path}: ${messageOf(error)}`);
    return undefined;
  }
}
