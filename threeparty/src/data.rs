//! Labelled pictures from a table and a folder, for training and classification.
//!
//! A grey value v in 0..1 becomes (v − 0.7)·4; a colour is projected onto three directions ([`DIRECTIONS`]). Both give
//! about zero mean and unit deviation for tissue stained with haematoxylin and eosin, whose red, green and blue are so
//! correlated that training on them as they are takes several times as many steps. The constants are public and the
//! same for all owners, so that nobody's statistics leak.

use crate::client::Labelled;
use models::Shape;
use std::path::{Path, PathBuf};

/// Per direction in colour space: weights of red, green and blue in 0..1, what is taken off, and the gain. Roughly the
/// principal axes of stained tissue: brightness, red against green and blue, blue against green.
const DIRECTIONS: [([f32; 3], f32, f32); 3] =
    [([0.47, 0.72, 0.51], 1.16, 3.5), ([0.88, -0.36, -0.31], 0.255, 13.5), ([0.04, -0.6, 0.8], 0.247, 40.0)];

/// A table of pictures.
pub struct Table {
    folder: PathBuf,
    rows: Vec<Row>,
}

struct Row {
    path: String,
    label: usize,
    split: String,
}

/// Pictures that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A picture.
    #[error("{}: {source}", path.display())]
    Picture {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: image::ImageError,
    },
    /// A table without the columns path, label and split, or with a label that is no number.
    #[error("{}: line {line} does not fit the columns path, label, split", path.display())]
    Table {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A network that reads neither grey nor colour pictures.
    #[error("pictures have one or three channels and no depth; the network reads {0:?}")]
    Shape(Shape),
    /// Fewer pictures than the job says.
    #[error("the table has {found} pictures of split `{split}`; the job wants {wanted}")]
    TooFew {
        /// The split.
        split: String,
        /// In the table.
        found: usize,
        /// In the job.
        wanted: usize,
    },
}

impl Table {
    /// Reads a table: CSV without quoting, with a header that names `path`, `label` and `split`.
    pub fn load(table: &Path, folder: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(table)
            .map_err(|source| DataError::File { path: table.into(), source })?;
        let broken = |line| DataError::Table { path: table.into(), line };
        let mut lines = text.lines().enumerate();
        let header: Vec<&str> = lines.next().map(|(_, line)| line.split(',').collect()).unwrap_or_default();
        let column = |name| header.iter().position(|&title| title == name).ok_or_else(|| broken(1));
        let [path, label, split] = [column("path")?, column("label")?, column("split")?];
        let row = |(number, line): (usize, &str)| {
            let fields: Vec<&str> = line.split(',').collect();
            let field = |i: usize| fields.get(i).copied().ok_or_else(|| broken(number + 1));
            let label = field(label)?.parse().map_err(|_| broken(number + 1))?;
            Ok(Row { path: field(path)?.into(), label, split: field(split)?.into() })
        };
        Ok(Self { folder: folder.into(), rows: lines.map(row).collect::<Result<_, _>>()? })
    }

    /// Pictures of a split.
    pub fn count(&self, split: &str) -> usize {
        self.rows.iter().filter(|row| row.split == split).count()
    }

    /// `count` pictures of a split, evenly spread over the table, at the network's resolution.
    pub fn images(&self, split: &str, count: usize, shape: Shape) -> Result<Labelled, DataError> {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.split == split).collect();
        if rows.len() < count {
            return Err(DataError::TooFew { split: split.into(), found: rows.len(), wanted: count });
        }
        let mut all = Labelled::default();
        for row in (0..count).map(|i| rows[i * rows.len() / count]) {
            all.images.extend(self.picture(&row.path, shape)?);
            all.labels.push(row.label);
        }
        Ok(all)
    }

    fn picture(&self, name: &str, shape: Shape) -> Result<Vec<f32>, DataError> {
        let path = self.folder.join(name);
        let picture = image::open(&path).map_err(|source| DataError::Picture { path, source })?;
        let (1, 1 | 3) = (shape.dims[0], shape.channels) else { return Err(DataError::Shape(shape)) };
        let [_, height, width] = shape.dims;
        let filter = image::imageops::FilterType::Triangle;
        let picture = match (picture.height() as usize, picture.width() as usize) == (height, width) {
            true => picture,
            false => picture.resize_exact(width as u32, height as u32, filter),
        };
        if shape.channels == 1 {
            return Ok(picture.to_luma8().into_raw().into_iter().map(|v| (unit(v) - 0.7) * 4.0).collect());
        }
        let bytes = picture.to_rgb8().into_raw();
        let (pixels, _) = bytes.as_chunks::<3>();
        let along = |(weights, offset, gain): ([f32; 3], f32, f32)| {
            let project =
                move |pixel: &[u8; 3]| pixel.iter().zip(weights).map(|(&v, w)| unit(v) * w).sum::<f32>();
            pixels.iter().map(move |pixel| (project(pixel) - offset) * gain)
        };
        Ok(DIRECTIONS.into_iter().flat_map(along).collect())
    }
}

fn unit(value: u8) -> f32 {
    f32::from(value) / 255.0
}
