import type { ExitCode } from '../exit-codes.ts';
import { checkGateway } from './check-gateway.ts';
import { checkRecords } from './check-records.ts';
import { checkSettings } from './check-settings.ts';
import { checkStore } from './check-store.ts';
import { printSection, printVerdict } from './print.ts';
import { exitCodeOf, Section } from './section.ts';

/** Looks at one place after the other; what breaks one look does not keep the others from theirs. */
export async function runDoctor(
  options: { readonly server?: string; readonly json?: true },
  env: Readonly<Record<string, string | undefined>>,
): Promise<ExitCode> {
  const sections: Section[] = [];
  const add = (section: Section) => {
    sections.push(section);
    if (!options.json) printSection(section);
  };
  const { section, settings } = checkSettings(env);
  add(section);
  add(await guarded('gateway', () => checkGateway(options.server, env)));
  add(settings === undefined ? notLookedAt('records') : await guarded('records', () => checkRecords(settings)));
  add(settings === undefined ? notLookedAt('store') : await guarded('store', () => checkStore(settings)));
  const exitCode = exitCodeOf(sections);
  if (options.json) console.log(JSON.stringify({ exitCode, sections }, undefined, 2));
  else printVerdict(sections);
  return exitCode;
}

function notLookedAt(name: string): Section {
  const section = new Section(name);
  section.note('settings', 'not looked at: the settings are wrong');
  return section;
}

async function guarded(name: string, look: () => Promise<Section>): Promise<Section> {
  try {
    return await look();
  } catch (error) {
    const section = new Section(name);
    section.fault('unexpected', 1, error instanceof Error ? (error.stack ?? error.message) : String(error));
    return section;
  }
}
