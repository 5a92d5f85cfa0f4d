import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect as connectTcp, isIP } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Section } from './section.ts';

/** Of each step on the network. */
export const deadlineMs = 5_000;
const expiresSoonDays = 14;
const dayMs = 86_400_000;

/** Name, address, TLS, each on its own, so that the first one that fails is told. */
export async function checkConnection(section: Section, url: URL): Promise<boolean> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  return (await resolves(section, host)) && (await connects(section, host, port, url.protocol === 'https:'));
}

async function resolves(section: Section, host: string): Promise<boolean> {
  if (isIP(host) !== 0) return true;
  try {
    const addresses = await beforeDeadline(lookup(host, { all: true }));
    section.ok('dns', `${host} is ${addresses.map(({ address }) => address).join(', ')}`);
    return true;
  } catch (error) {
    const unknown = codeOf(error) === 'ENOTFOUND';
    section.fault('dns', unknown ? 2 : 5, unknown ? `there is no host ${host}` : `${host}: ${messageOf(error)}`);
    return false;
  }
}

async function connects(section: Section, host: string, port: number, tls: boolean): Promise<boolean> {
  const began = performance.now();
  const socket = tls
    ? connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }) })
    : connectTcp({ host, port });
  try {
    await once(socket, tls ? 'secureConnect' : 'connect', { signal: AbortSignal.timeout(deadlineMs) });
    const ms = Math.round(performance.now() - began);
    const protocol = tls ? (socket as TLSSocket).getProtocol() : undefined;
    section.ok('connect', `${host}:${port} takes connections (${protocol ? `${protocol}, ` : ''}${ms} ms)`, { ms });
    if (tls) judgeCertificate(section, socket as TLSSocket);
    return true;
  } catch (error) {
    const aboutTls = tls && !/^(E[A-Z]+|ABORT_ERR)$/.test(codeOf(error));
    section.fault(
      aboutTls ? 'tls' : 'connect',
      aboutTls ? 2 : 5,
      `${host}:${port}: ${aboutTls ? `TLS fails: ${messageOf(error)}` : messageOf(error)}`,
    );
    return false;
  } finally {
    // Without a listener an error that comes late ends the process.
    socket.on('error', () => undefined).destroy();
  }
}

function judgeCertificate(section: Section, socket: TLSSocket): void {
  const until = new Date(socket.getPeerCertificate().valid_to);
  const days = Math.floor((until.getTime() - Date.now()) / dayMs);
  const message = `its certificate is valid until ${until.toISOString().slice(0, 10)}`;
  section[days < expiresSoonDays ? 'warn' : 'ok']('certificate', message, { validDays: days });
}

async function beforeDeadline<T>(work: Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(deadlineMs);
  const late = once(signal, 'abort').then(() => Promise.reject(signal.reason));
  late.catch(() => undefined);
  return Promise.race([work, late]);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** What happened at the bottom, without the layers above it. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no answer within ${deadlineMs / 1000} s`;
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  if (error.cause !== undefined) return messageOf(error.cause);
  // OpenSSL's own words, without where in its source they stand.
  if ('reason' in error && typeof error.reason === 'string') return error.reason;
  return error.message || error.name;
}
