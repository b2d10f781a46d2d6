/* Images: base64 of deflated byte planes to HU (see pack_image) */
const decoded = new Map();

const decode = async (id) => {
  if (decoded.has(id)) return decoded.get(id);
  const text = atob(document.getElementById(`image-${id}`).textContent);
  const packed = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = planes.length / 2;
  const hu = new Int16Array(count);
  for (let i = 0, value = 0; i < count; i++) {
    const folded = planes[i] | planes[count + i] << 8;
    value += folded >> 1 ^ -(folded & 1);
    hu[i] = value;
  }
  decoded.set(id, hu);
  return hu;
};
