import { randomBytes } from 'node:crypto';

/** 128 random bits, URL-safe, and never a leading dash: ids are typed into command lines. */
export function newId(): string {
  return randomBytes(16).toString('hex');
}

/** Whether a text can be an id at all; what can't is not found without a look. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}
