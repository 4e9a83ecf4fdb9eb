/** The first items of something that yields many, page by page. */

/** Returns `{items, rest}`: at most `count` items, and whether there are more. */
export async function take(generator, count) {
  const items = [];
  for await (const item of generator) {
    if (items.length === count) return { items, rest: true };
    items.push(item);
  }
  return { items, rest: false };
}
