import { faultOfKey } from './limits.ts';

/** The names that a key template may use in braces. */
export const keyTemplateNames = ['tenant', 'date', 'id', 'filename'] as const;

/**
 * Names an object whose client named none: `{tenant}`, `{date}` (UTC, 2026-11-23), `{id}`, `{filename}` made safe.
 */
export function expandKeyTemplate(
  template: string,
  values: { readonly tenant: string; readonly now: Date; readonly id: string; readonly filename: string | undefined },
): string {
  const replacements: Record<string, string> = {
    tenant: values.tenant,
    date: values.now.toISOString().slice(0, 10),
    id: values.id,
    filename: safeFilename(values.filename),
  };
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => replacements[name] ?? whole);
}

/** A template's unknown names; empty when it is sound. */
export function unknownTemplateNames(template: string): string[] {
  const known: readonly string[] = keyTemplateNames;
  return [...template.matchAll(/\{(\w*)\}/g)].map((match) => match[1] ?? '').filter((name) => !known.includes(name));
}

/** What is wrong with the keys that a template makes, as `faultOfKey` says it. */
export function faultOfTemplate(template: string): string | undefined {
  const values = { tenant: 'tenant', now: new Date(0), id: 'id', filename: undefined };
  // Where the gateway keeps its own objects is another setting: what meets that is refused with the upload.
  return faultOfKey(expandKeyTemplate(template, values), '\0');
}

function safeFilename(filename: string | undefined): string {
  const safe = (filename ?? '')
    .toWellFormed()
    .normalize('NFC')
    .replace(/[^\p{L}\p{N}._-]+/gu, '_')
    .replace(/^[._]+/, '');
  // 255 bytes is what a file system under a store takes as a name.
  return [...safe].slice(-60).join('') || 'file';
}
