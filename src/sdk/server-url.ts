import { UsageError } from './errors.ts';

/** As it is called and remembered: without what may be written or left out. @throws UsageError */
export function serverOf(given: string | URL): string {
  const url = URL.parse(String(given));
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new UsageError(`server: ${String(given)} is not the URL of a gateway, such as http://127.0.0.1:8080`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('server: no secrets in URLs, which are logged; apiKey takes the key');
  }
  return url.href.replace(/\/+$/, '');
}
