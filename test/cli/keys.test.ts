import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findPrincipal } from '../../src/db/api-keys.ts';
import { Connection } from '../../src/db/connection.ts';
import {
  type EmbeddedPostgres,
  findRunningEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/db/embedded-postgres.ts';

const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

let folder: string;
let postgres: EmbeddedPostgres;
let connection: Connection;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'partway-keys-'));
  postgres = await startEmbeddedPostgres({ dataDir: folder });
  connection = new Connection({ url: postgres.url, onIdleError: () => undefined });
});
afterAll(async () => {
  await connection.close();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function keys(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [program, 'keys', ...args],
      { env: { PATH: process.env.PATH, PARTWAY_DATA_DIR: folder, ...env } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

async function createdAs(...args: string[]) {
  const { code, stdout, stderr } = await keys(['create', '--json', ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as { id: string; secret: string } & Record<string, unknown>;
}

describe('partway keys create', () => {
  it('prints the key alone on standard output, and about it on standard error', async () => {
    const { code, stdout, stderr } = await keys(['create', '--tenant', 'plain', '--name', 'for backups']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^partway_[\w-]{43}\n$/);
    expect(stderr).toContain('tenant plain  any bucket under "plain/"');
    expect(stderr).toContain('"for backups"');
    expect(stderr).not.toContain(stdout.trim());
    expect(await findPrincipal(connection, stdout.trim())).toMatchObject({ tenant: 'plain', keyPrefix: '' });
  });

  it('makes it as it was told, and says so in JSON', async () => {
    const key = await createdAs(
      ...['--tenant', 'told', '--tenant-prefix', 'home/told/', '--scope', 'uploads:write', 'uploads:read'],
      ...['--bucket', 'only', '--prefix', 'in/'],
    );
    expect(key).toMatchObject({
      tenant: 'told',
      tenantKeyPrefix: 'home/told/',
      scopes: ['uploads:write', 'uploads:read'],
      bucket: 'only',
      keyPrefix: 'in/',
    });
    expect(await findPrincipal(connection, key.secret)).toEqual({
      tenant: 'told',
      tenantKeyPrefix: 'home/told/',
      scopes: new Set(['uploads:write', 'uploads:read']),
      bucket: 'only',
      keyPrefix: 'in/',
    });
  });

  it('refuses a prefix that is not apart from that of another tenant, exit 2', async () => {
    await createdAs('--tenant', 'first', '--tenant-prefix', 'shared/');
    const { code, stdout, stderr } = await keys(['create', '--tenant', 'second', '--tenant-prefix', 'shared/in/']);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe(
      'partway: The prefix "shared/in/" is not apart from "shared/" of tenant first. Choose another with --tenant-prefix.\n',
    );
  });

  it("refuses the gateway's own prefix, exit 2", async () => {
    const { code, stdout, stderr } = await keys(['create', '--tenant', 'own'], { PARTWAY_STAGING_PREFIX: 'own/' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe(
      'partway: The prefix "own/" is the gateway\'s own (PARTWAY_STAGING_PREFIX is "own/"). Choose another with --tenant-prefix.\n',
    );
  });

  it.each([
    [['--tenant', '-x']],
    [['--tenant', 'a/b']],
    [['--tenant', 'a'.repeat(64)]],
    [['--tenant-prefix', 'no-slash']],
    [['--tenant-prefix', '/abs/']],
    [['--tenant-prefix', 'a//b/']],
    [['--prefix', 'a/../b/']],
    [['--prefix', './']],
    [['--scope', 'uploads:delete']],
    [['--colour', 'red']],
  ])('refuses %j, exit 2', async (args) => {
    const { code, stdout, stderr } = await keys(['create', ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: .*\n.*--help/s);
  });
});

describe('partway keys list', () => {
  it('shows each key without its text, a line for each, and as JSON', async () => {
    const { id, secret, ...facts } = await createdAs('--tenant', 'listed');
    const plain = await keys(['list']);
    expect(plain).toMatchObject({ code: 0, stderr: '' });
    expect(plain.stdout).toContain(`${id}  tenant listed  any bucket under "listed/"`);
    const json = await keys(['list', '--json']);
    const lines = json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string });
    expect(lines.find((key) => key.id === id)).toEqual({ id, ...facts });
    expect(plain.stdout + json.stdout).not.toContain(secret);
  });
});

describe('partway keys revoke', () => {
  it('ends a key, and list says since when', async () => {
    const { id, secret } = await createdAs('--tenant', 'ended');
    expect(await keys(['revoke', id])).toEqual({ code: 0, stdout: '', stderr: `revoked ${id}\n` });
    expect(await findPrincipal(connection, secret)).toBeUndefined();
    expect((await keys(['list'])).stdout).toMatch(new RegExp(`^${id} .* revoked 2\\d{3}-`, 'm'));
  });

  it('knows no key of that name, exit 4', async () => {
    const { code, stderr } = await keys(['revoke', 'nobody']);
    expect({ code, stderr }).toEqual({ code: 4, stderr: 'there is no key nobody; partway keys list shows them\n' });
  });

  it('wants to be told which, exit 2', async () => {
    expect((await keys(['revoke'])).code).toBe(2);
  });
});

describe('the records', () => {
  it('are those of DATABASE_URL where it is given', async () => {
    const { id } = await createdAs('--tenant', 'by-url');
    const elsewhere = join(folder, 'unused');
    const { stdout } = await keys(['list'], { DATABASE_URL: postgres.url, PARTWAY_DATA_DIR: elsewhere });
    expect(stdout).toContain(id);
    expect(await findRunningEmbeddedPostgres(elsewhere)).toBeUndefined();
  });

  it('are started for the command where no gateway runs, and ended with it', { timeout: 120_000 }, async () => {
    const dataDir = join(folder, 'alone');
    const none = await keys(['list'], { PARTWAY_DATA_DIR: dataDir });
    expect(none).toMatchObject({ code: 2, stdout: '' });
    expect(none.stderr).toContain('PARTWAY_DATA_DIR: no gateway has run in');
    const { stdout } = await keys(['create'], { PARTWAY_DATA_DIR: dataDir });
    expect(stdout).toMatch(/^partway_/);
    expect(await findRunningEmbeddedPostgres(dataDir)).toBeUndefined();
    const listed = await keys(['list', '--json'], { PARTWAY_DATA_DIR: dataDir });
    expect(JSON.parse(listed.stdout)).toMatchObject({ tenant: 'default', tenantKeyPrefix: 'default/' });
  });

  it('that cannot be reached end the command with exit 5, and show no password', async () => {
    const DATABASE_URL = 'postgres://user:hunter2@127.0.0.1:1/partway';
    const { code, stdout, stderr } = await keys(['list'], { DATABASE_URL });
    expect({ code, stdout }).toEqual({ code: 5, stdout: '' });
    expect(stderr).toContain('DATABASE_URL: 127.0.0.1:1/partway cannot be used: connect ECONNREFUSED');
    expect(stderr).not.toContain('hunter2');
  });

  it('are not looked for under wrong settings, exit 2', async () => {
    const { code, stderr } = await keys(['list'], { PARTWAY_PORT: 'http' });
    expect(code).toBe(2);
    expect(stderr).toContain('PARTWAY_PORT: given: "http", wanted: a port from 0 to 65535');
  });
});
