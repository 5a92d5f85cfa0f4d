import { randomBytes } from 'node:crypto';

/** 128 random bits, URL-safe, and never a leading dash: ids are typed into command lines. */
export function newId(): string {
  return randomBytes(16).toString('hex');
}
