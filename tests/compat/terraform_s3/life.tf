variable "bucket" {}
variable "public_key" {
  default = ""
}
variable "stage" {
  default = "one"
}

resource "aws_s3_bucket" "source" {
  bucket              = var.bucket
  object_lock_enabled = true
}

resource "aws_s3_bucket" "target" {
  bucket = "${var.bucket}-target"
}

resource "aws_s3_bucket_versioning" "all" {
  for_each = { source = aws_s3_bucket.source.id, target = aws_s3_bucket.target.id }
  bucket   = each.value
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "source" {
  bucket     = aws_s3_bucket.source.id
  depends_on = [aws_s3_bucket_versioning.all]

  rule {
    id     = "logs"
    status = "Enabled"
    filter {
      and {
        prefix                   = "logs/"
        tags                     = { stage = var.stage }
        object_size_greater_than = 500
      }
    }
    transition {
      days          = 30
      storage_class = "STANDARD_IA"
    }
    transition {
      days          = 90
      storage_class = "GLACIER"
    }
    expiration {
      days = 120
    }
    noncurrent_version_expiration {
      noncurrent_days           = 7
      newer_noncurrent_versions = 2
    }
  }
  rule {
    id     = "uploads"
    status = "Enabled"
    filter {
      prefix = "tmp/"
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
    expiration {
      expired_object_delete_marker = true
    }
  }
}

resource "aws_s3_bucket_object_lock_configuration" "source" {
  bucket = aws_s3_bucket.source.id
  rule {
    default_retention {
      mode = "GOVERNANCE"
      days = 5
    }
  }
}

resource "aws_s3_bucket_object_lock_configuration" "target" {
  bucket     = aws_s3_bucket.target.id
  depends_on = [aws_s3_bucket_versioning.all]
}

resource "aws_iam_role" "replication" {
  name = "replication"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "replication" {
  role = aws_iam_role.replication.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["s3:GetReplicationConfiguration", "s3:ListBucket"], Resource = aws_s3_bucket.source.arn },
      { Effect = "Allow", Action = ["s3:GetObjectVersion*", "s3:GetObjectRetention", "s3:GetObjectLegalHold"], Resource = "${aws_s3_bucket.source.arn}/*" },
      { Effect = "Allow", Action = ["s3:Replicate*"], Resource = "${aws_s3_bucket.target.arn}/*" },
    ]
  })
}

resource "aws_s3_bucket_replication_configuration" "source" {
  bucket     = aws_s3_bucket.source.id
  role       = aws_iam_role.replication.arn
  depends_on = [aws_s3_bucket_versioning.all]

  rule {
    id       = "all"
    status   = "Enabled"
    priority = 1
    filter {
      prefix = "copied/"
    }
    delete_marker_replication {
      status = "Enabled"
    }
    destination {
      bucket        = aws_s3_bucket.target.arn
      storage_class = "STANDARD_IA"
    }
  }
}

resource "aws_s3_bucket_notification" "source" {
  bucket      = aws_s3_bucket.source.id
  eventbridge = true
  queue {
    id            = "created"
    queue_arn     = "arn:aws:sqs:us-east-1:000000000000:q"
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "copied/"
    filter_suffix = ".txt"
  }
  topic {
    topic_arn = "arn:aws:sns:us-east-1:000000000000:t"
    events    = ["s3:ObjectRemoved:*"]
  }
}

resource "aws_s3_bucket_logging" "source" {
  bucket        = aws_s3_bucket.source.id
  target_bucket = aws_s3_bucket.target.id
  target_prefix = "log/${var.stage}/"
  target_object_key_format {
    partitioned_prefix {
      partition_date_source = "EventTime"
    }
  }
}
