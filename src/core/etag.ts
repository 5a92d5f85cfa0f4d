/** ETags are compared without the quotes that one store or client sends and another does not. */
export function isSameEtag(one: string, other: string): boolean {
  return unquoted(one) === unquoted(other);
}

export function unquoted(etag: string): string {
  return etag.replaceAll('"', '');
}
