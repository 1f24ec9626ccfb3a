//! Labelled pictures from a table and a folder, for training and classification.
//!
//! A pixel becomes (value/255 − 0.7)·4: about zero mean and unit deviation for stained tissue. The constants are public
//! and the same for all owners, so that nobody's statistics leak.

use crate::client::Labelled;
use models::Shape;
use std::path::{Path, PathBuf};

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
        let bytes =
            if shape.channels == 1 { picture.to_luma8().into_raw() } else { picture.to_rgb8().into_raw() };
        let value = |i: usize| (f32::from(bytes[i]) / 255.0 - 0.7) * 4.0;
        Ok((0..shape.channels).flat_map(|c| (c..bytes.len()).step_by(shape.channels).map(value)).collect())
    }
}
