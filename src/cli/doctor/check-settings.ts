import {
  type ResolvedSetting,
  readSettings,
  resolveSettings,
  type Settings,
  SettingsError,
  withoutSecrets,
} from '../../config.ts';
import { Section } from './section.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface CheckedSettings {
  readonly section: Section;
  /** `undefined`: they are wrong. */
  readonly settings: Settings | undefined;
}

/** What the clients' commands read. */
const ofClients = ['PARTWAY_URL', 'PARTWAY_API_KEY', 'PARTWAY_API_KEY_FILE'];

export function checkSettings(env: Env): CheckedSettings {
  const section = new Section('settings');
  const resolved = [...resolveSettings(env), ...ofClients.map((name) => given(name, env))];
  for (const { name, value, source } of resolved) {
    if (source !== 'unset') section.note('setting', `${name.padEnd(30)} ${value} (${source})`, { name, value, source });
  }
  const unset = resolved.filter(({ source }) => source === 'unset').map(({ name }) => name);
  section.note('unset', `not set: ${unset.join(', ')}`, { names: unset });
  try {
    const settings = readSettings(env);
    for (const warning of settings.warnings) section.warn('unknown', warning);
    section.ok('valid', 'the settings are valid');
    return { section, settings };
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    section.fault('valid', 2, error.message);
    return { section, settings: undefined };
  }
}

function given(name: string, env: Env): ResolvedSetting {
  const text = env[name];
  if (text === undefined || text === '') return { name, value: undefined, source: 'unset' };
  return { name, value: withoutSecrets(name, text), source: 'environment' };
}
