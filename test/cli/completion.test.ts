import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completionScript } from '../../src/cli/completion/script.ts';
import { program, runPartway } from '../support/run-partway.ts';

let folder: string;
let script: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'partway-completion-'));
  await writeFile(join(folder, 'video one.bin'), '');
  await mkdir(join(folder, 'videos'));
  script = await printed('bash');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function printed(shell: 'bash' | 'zsh'): Promise<string> {
  const { code, stdout, stderr } = await runPartway(['completion', shell]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** What bash would offer for these words, the last of which is being typed. */
function offered(words: readonly string[], source = script): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const text = `set -u
${source}
COMP_WORDS=(${quoted}) COMP_CWORD=${words.length - 1}
_partway
printf '%s\\n' "\${COMPREPLY[@]-}"`;
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', text], { encoding: 'utf8', cwd: folder });
  expect(stderr).toBe('');
  return stdout.split('\n').filter((line) => line !== '');
}

describe('partway completion bash', () => {
  it.each([
    ['commands', ['partway', 'd'], ['doctor']],
    ['commands of commands', ['partway', 'keys', 're'], ['revoke']],
    ['options', ['partway', 'keys', 'create', '--te'], ['--tenant', '--tenant-prefix']],
    ['options of the program itself', ['partway', '--v'], ['--version']],
    ['choices of an argument', ['partway', 'completion', ''], ['bash', 'zsh']],
    ['nothing where nobody can know', ['partway', 'keys', 'revoke', ''], []],
    ['nothing for the value of an option', ['partway', 'keys', 'create', '--tenant', ''], []],
    ['what follows an option and its value', ['partway', 'keys', 'create', '--tenant', 'a', '--j'], ['--json']],
    ['choices behind an equals sign', ['partway', 'keys', 'create', '--scope', '=', 'obj'], ['objects:read']],
    [
      'a further choice where there may be many',
      ['partway', 'keys', 'create', '--scope', 'a', 'obj'],
      ['objects:read'],
    ],
    ['options after many', ['partway', 'keys', 'create', '--scope', 'a', '--js'], ['--json']],
  ])('offers %s', (_, words, wanted) => {
    expect(offered(words)).toEqual(wanted);
  });

  it('offers choices with colons, at which bash parts words', () => {
    expect(offered(['partway', 'keys', 'create', '--scope', 'uploads', ':', 'w'])).toEqual(['write']);
    expect(offered(['partway', 'keys', 'create', '--scope', 'uploads', ':'])).toEqual(['write', 'read']);
  });

  it('is there once a shell has sourced it', () => {
    const text = `source <('${process.execPath}' '${program}' completion bash); complete -p partway`;
    const { stdout } = spawnSync('bash', ['--norc', '-c', text], { encoding: 'utf8' });
    expect(stdout).toBe('complete -F _partway partway\n');
  });

  it('offers files where a file is wanted, and whatever a command declares', () => {
    const declared = new Command('partway');
    declared
      .command('send')
      .alias('s')
      .argument('<file...>')
      .option('--note <text>', 'a note')
      .option('-k, --key-file <path>', 'a key');
    declared.command('secret', { hidden: true });
    const source = completionScript(declared, 'bash');
    for (const words of [
      ['partway', 'send', 'vid'],
      ['partway', 's', 'other', 'vid'],
      ['partway', 'send', '--note', 'x', '--', 'vid'],
      ['partway', 'send', '-k', 'vid'],
      ['partway', 'send', '--key-file', 'vid'],
    ]) {
      expect(offered(words, source).toSorted()).toEqual(['video one.bin', 'videos']);
    }
    expect(offered(['partway', 'send', '--note', 'vid'], source)).toEqual([]);
    expect(offered(['partway', 's'], source)).toEqual(['send', 's']);
  });

  it('knows no other shell, exit 2', async () => {
    const { code, stderr } = await runPartway(['completion', 'fish']);
    expect(code).toBe(2);
    expect(stderr).toContain('Allowed choices are bash, zsh');
  });
});

const zsh = spawnSync('zsh', ['--version']).status === 0;
if (!zsh && process.env.CI === 'true') throw new Error('There is no zsh on this machine.');

describe.skipIf(!zsh)('partway completion zsh', () => {
  /** Types into a zsh at a terminal, and has it print what its line has become. */
  async function completed(line: string): Promise<string | undefined> {
    const file = join(folder, 'completion.zsh');
    await writeFile(file, await printed('zsh'));
    const text = `
zmodload zsh/zpty
zpty shell 'PS1= ZDOTDIR=/nonexistent zsh -f -i'
zpty -w shell 'autoload -U compinit && compinit -D -u; source ${file}; bindkey -e; unsetopt zle_bracketed_paste 2>/dev/null; print -r re''ady'
zpty -r shell out '*ready*'
zpty -w -n shell $'${line}\\t\\C-Aprint -r -- "[\\C-E]"\\n'
zpty -r shell out '*\\[partway*\\]*\\[partway*\\]*'
print -r -- $out
zpty -d shell`;
    const { stdout } = spawnSync('zsh', ['-f', '-c', text], { encoding: 'utf8', cwd: folder, timeout: 20_000 });
    return /\[(partway[^\]]*)\]\s*$/.exec(stdout)?.[1];
  }

  it.each([
    ['partway do', 'partway doctor'],
    ['partway keys rev', 'partway keys revoke'],
    ['partway keys create --scope obj', 'partway keys create --scope objects:read'],
    ['partway completion z', 'partway completion zsh'],
  ])('makes of "%s" "%s"', async (line, wanted) => {
    expect(await completed(line)).toBe(wanted);
  });
});
