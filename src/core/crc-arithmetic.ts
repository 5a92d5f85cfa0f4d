/** Reflected generator polynomials: CRC-32 of ISO 3309, CRC-32C of Castagnoli (RFC 3720 appendix B.4). */
export const polynomials = { crc32: 0xedb88320, crc32c: 0x82f63b78 } as const;

/**
 * The CRC of the pieces' concatenation, from the CRC and length of each, without their bytes.
 * Appending n bytes to a message multiplies its CRC by x^(8n) modulo the polynomial.
 */
export function joinCrcs(
  polynomial: number,
  pieces: Iterable<{ readonly value: number; readonly sizeBytes: number }>,
): number {
  const powers = new Map<number, number>();
  let joined = 0;
  for (const { value, sizeBytes } of pieces) {
    const power = powers.get(sizeBytes) ?? powerOfX(8 * sizeBytes, polynomial);
    powers.set(sizeBytes, power);
    joined = multiply(power, joined, polynomial) ^ value;
  }
  return joined >>> 0;
}

/** a × b modulo the polynomial; bit 31 is the coefficient of x^0. */
function multiply(a: number, b: number, polynomial: number): number {
  let product = 0;
  let factor = b;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= factor;
    factor = factor & 1 ? (factor >>> 1) ^ polynomial : factor >>> 1;
  }
  return product;
}

/** x^n modulo the polynomial, by squaring; n can exceed 32 bits. */
function powerOfX(n: number, polynomial: number): number {
  let power = 0x80000000;
  let square = 0x40000000;
  for (let rest = n; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) power = multiply(square, power, polynomial);
    square = multiply(square, square, polynomial);
  }
  return power;
}
