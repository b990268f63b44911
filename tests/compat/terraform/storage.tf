resource "aws_s3_bucket" "main" {
  bucket        = var.bucket
  force_destroy = true
  tags          = local.tags
}

resource "aws_s3_bucket_versioning" "main" {
  bucket = aws_s3_bucket.main.id
  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "main" {
  bucket = aws_s3_bucket.main.id
  rule {
    apply_server_side_encryption_by_default { sse_algorithm = "AES256" }
  }
}

resource "aws_s3_bucket_public_access_block" "main" {
  bucket                  = aws_s3_bucket.main.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "main" {
  bucket     = aws_s3_bucket.main.id
  depends_on = [aws_s3_bucket_versioning.main]
  rule {
    id     = "logs"
    status = "Enabled"
    filter { prefix = "logs/" }
    expiration { days = 30 }
    noncurrent_version_expiration { noncurrent_days = 7 }
  }
  rule {
    id     = "uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload { days_after_initiation = 2 }
  }
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "RoleReads"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.main.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.web.arn]
    }
  }
  statement {
    sid       = "NobodyDeletesTheBucketByHand"
    effect    = "Deny"
    actions   = ["s3:DeleteBucketPolicy"]
    resources = [aws_s3_bucket.main.arn]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = ["999999999999"]
    }
  }
}

resource "aws_s3_bucket_policy" "main" {
  bucket = aws_s3_bucket.main.id
  policy = data.aws_iam_policy_document.bucket.json
}

resource "aws_s3_object" "page" {
  bucket       = aws_s3_bucket.main.id
  key          = "site/index page+1.html"
  content      = "<h1>${var.stage}</h1>"
  content_type = "text/html"
  tags         = local.tags
  depends_on   = [aws_s3_bucket_versioning.main, aws_s3_bucket_server_side_encryption_configuration.main]
}

resource "aws_s3_object" "many" {
  for_each   = toset(["a", "b", "c"])
  bucket     = aws_s3_bucket.main.id
  key        = "logs/${each.key}.txt"
  source     = "${path.module}/network.tf"
  etag       = filemd5("${path.module}/network.tf")
  metadata   = { letter = each.key }
  depends_on = [aws_s3_bucket_versioning.main, aws_s3_bucket_server_side_encryption_configuration.main]
}
