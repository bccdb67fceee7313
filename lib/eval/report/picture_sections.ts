/** The sections of pictures: patch features as colours, and masks. */
import sharp from 'sharp';
import type { FeaturePicture, MaskPicture, Pixels } from './data.js';
import { escapeHtml } from './text.js';

export async function featureSection(pictures: readonly FeaturePicture[]): Promise<string> {
  if (pictures.length === 0) return '';
  const rows: { title: string; about: string; pixels: (picture: FeaturePicture) => Pixels | undefined }[] = [
    { title: 'Image', about: '', pixels: ({ image }) => image },
    { title: 'Trained', about: 'components of each image alone', pixels: ({ perImage }) => perImage },
    { title: 'Trained', about: 'components shared by all images', pixels: ({ joint }) => joint },
    {
      title: 'Random initialisation',
      about: 'components shared by all images',
      pixels: ({ initial }) => initial,
    },
  ];
  const strips: string[] = [];
  for (const { title, about, pixels } of rows) {
    const cells: string[] = [];
    for (const picture of pictures) {
      const own = pixels(picture);
      if (!own) continue;
      const alt = `${title}${about ? `, ${about}` : ''}${picture.caption ? `: ${picture.caption}` : ''}`;
      const caption =
        title === 'Image' && picture.caption ? `<figcaption>${escapeHtml(picture.caption)}</figcaption>` : '';
      cells.push(
        `<figure class="picture"><img src="${await pngUri(own)}" width="${own.width}" height="${own.height}" alt="${escapeHtml(alt)}">${caption}</figure>`,
      );
    }
    if (cells.length === 0) continue;
    const label = about ? `${escapeHtml(title)} <span>· ${escapeHtml(about)}</span>` : escapeHtml(title);
    strips.push(`<p class="strip-label">${label}</p>${strip(cells)}`);
  }
  return (
    `<section><h2>What it sees</h2><p class="lead">The first three principal components of the patch features as red, green and blue. ` +
    `Patches of one colour mean the same to the encoder; with shared components that holds between images too.</p>` +
    `<div class="scroller">${strips.join('')}</div></section>`
  );
}

export async function maskSection(masks: readonly MaskPicture[]): Promise<string> {
  if (masks.length === 0) return '';
  const cells: string[] = [];
  for (const mask of masks) cells.push(await maskPicture(mask));
  const first = masks[0] as MaskPicture;
  const total = first.gridRows * first.gridCols;
  const counts = `${first.visible.length} of ${total} patches are visible, ${first.predicted.length} of the hidden ones are predicted`;
  return (
    `<section><h2>What it is asked</h2><p class="lead">The student encodes the visible patches only; the predictor then names the cluster ` +
    `of some hidden ones. Here ${counts}.</p><div class="scroller">${strip(cells)}</div>` +
    `<p class="key"><span><i class="seen"></i>visible</span><span><i class="hidden"></i>hidden</span><span><i class="asked"></i>predicted</span></p></section>`
  );
}

async function maskPicture(mask: MaskPicture): Promise<string> {
  const { gridRows, gridCols, image } = mask;
  const visible = new Set(Array.from(mask.visible));
  const hidden = Array.from({ length: gridRows * gridCols }, (_, t) => t).filter((t) => !visible.has(t));
  const at = (t: number): string => `M${t % gridCols} ${Math.floor(t / gridCols)}h1v1h-1z`;
  const inset = 0.09;
  const boxes = Array.from(mask.predicted, (t) => {
    const x = (t % gridCols) + inset;
    const y = Math.floor(t / gridCols) + inset;
    const side = 1 - 2 * inset;
    return `<rect class="predict" x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${side}" height="${side}" rx=".1" stroke-width=".1"/>`;
  });
  const caption = mask.caption ? `<figcaption>${escapeHtml(mask.caption)}</figcaption>` : '';
  return (
    `<figure class="picture"><svg viewBox="0 0 ${gridCols} ${gridRows}" role="img" aria-label="Mask${mask.caption ? ` of ${escapeHtml(mask.caption)}` : ''}">` +
    `<image href="${await pngUri(image)}" width="${gridCols}" height="${gridRows}" preserveAspectRatio="none"/>` +
    `<path class="veil" d="${hidden.map(at).join('')}"/>${boxes.join('')}</svg>${caption}</figure>`
  );
}

function strip(cells: readonly string[]): string {
  return `<div class="strip" style="--count:${cells.length}">${cells.join('')}</div>`;
}

async function pngUri({ data, width, height }: Pixels): Promise<string> {
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 9 })
    .toBuffer();
  return `data:image/png;base64,${png.toString('base64')}`;
}
