/** A worker that makes small pictures of photos in turn: only decoded pixels are ever shown. */
const LONGEST = 512;
let last = Promise.resolve();

onmessage = ({ data }) => {
  last = last.then(() => small(data)).catch(() => null).then(postMessage); // null: no format of this browser's
};

async function small(content) {
  const whole = await createImageBitmap(content);
  const scale = Math.min(1, LONGEST / Math.max(whole.width, whole.height));
  const [width, height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
  const part = await createImageBitmap(whole, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  whole.close();
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // as photos are labelled, too
  pen.fillRect(0, 0, width, height);
  pen.drawImage(part, 0, 0);
  part.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}
