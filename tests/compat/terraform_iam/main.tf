terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "public_key" { type = string }
variable "bucket" { type = string }

variable "stage" {
  type    = string
  default = "one"
}

data "aws_caller_identity" "me" {}

data "aws_iam_policy_document" "objects" {
  statement {
    sid       = "Objects"
    actions   = var.stage == "one" ? ["s3:GetObject", "s3:ListBucket"] : ["s3:GetObject"]
    resources = ["arn:aws:s3:::${var.bucket}", "arn:aws:s3:::${var.bucket}/*"]
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_user.dev.arn, data.aws_caller_identity.me.account_id]
    }
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com", "lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_user" "dev" {
  name          = "dev"
  path          = "/people/"
  force_destroy = true
  tags          = { Stage = var.stage }
}

resource "aws_iam_access_key" "dev" {
  user = aws_iam_user.dev.name
}

resource "aws_iam_user_login_profile" "dev" {
  user = aws_iam_user.dev.name
}

resource "aws_iam_user_policy" "dev" {
  name   = "own"
  user   = aws_iam_user.dev.name
  policy = data.aws_iam_policy_document.objects.json
}

resource "aws_iam_user_policy_attachment" "dev" {
  user       = aws_iam_user.dev.name
  policy_arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
}

resource "aws_iam_group" "devs" {
  name = "devs"
}

resource "aws_iam_group_membership" "devs" {
  name  = "devs"
  group = aws_iam_group.devs.name
  users = [aws_iam_user.dev.name]
}

resource "aws_iam_group_policy" "devs" {
  name   = "own"
  group  = aws_iam_group.devs.name
  policy = data.aws_iam_policy_document.objects.json
}

resource "aws_iam_policy" "objects" {
  name        = "objects"
  description = "reads objects"
  policy      = data.aws_iam_policy_document.objects.json
  tags        = { Stage = var.stage }
}

resource "aws_iam_group_policy_attachment" "devs" {
  group      = aws_iam_group.devs.name
  policy_arn = aws_iam_policy.objects.arn
}

data "aws_iam_policy" "core" {
  name = "AmazonSSMManagedInstanceCore"
}

resource "aws_iam_role" "web" {
  name                 = "web"
  path                 = "/apps/"
  description          = "stage ${var.stage}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = var.stage == "one" ? 7200 : 3600
  permissions_boundary = var.stage == "one" ? "arn:aws:iam::aws:policy/PowerUserAccess" : null
  tags                 = { Stage = var.stage }
}

resource "aws_iam_role_policy" "web" {
  name   = "own"
  role   = aws_iam_role.web.id
  policy = data.aws_iam_policy_document.objects.json
}

resource "aws_iam_role_policy_attachment" "web" {
  role       = aws_iam_role.web.name
  policy_arn = data.aws_iam_policy.core.arn
}

resource "aws_iam_instance_profile" "web" {
  name = "web"
  role = aws_iam_role.web.name
  tags = { Stage = var.stage }
}

resource "aws_iam_account_password_policy" "rules" {
  minimum_password_length = var.stage == "one" ? 10 : 12
  require_numbers         = true
}

resource "aws_iam_openid_connect_provider" "builds" {
  url             = "https://token.actions.githubusercontent.com"
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = ["6938fd4d98bab03faadb97b34396831e3780aea1"]
}

resource "aws_iam_virtual_mfa_device" "phone" {
  virtual_mfa_device_name = "phone"
}

data "aws_iam_principal_policy_simulation" "dev" {
  action_names      = ["s3:GetObject"]
  policy_source_arn = aws_iam_user.dev.arn
  resource_arns     = ["arn:aws:s3:::${var.bucket}/key"]
  depends_on        = [aws_iam_user_policy.dev]
}

data "aws_iam_session_context" "me" {
  arn = data.aws_caller_identity.me.arn
}

output "key" { value = aws_iam_access_key.dev.id }

output "secret" {
  value     = aws_iam_access_key.dev.secret
  sensitive = true
}

output "role" { value = aws_iam_role.web.arn }
output "allowed" { value = data.aws_iam_principal_policy_simulation.dev.all_allowed }

# --- keys -------------------------------------------------------------------------------------------------------------

resource "aws_kms_key" "everywhere" {
  description             = "stage ${var.stage}"
  multi_region            = true
  enable_key_rotation     = true
  deletion_window_in_days = 7
}

provider "aws" {
  alias  = "there"
  region = "eu-west-1"
}

resource "aws_kms_replica_key" "there" {
  provider                = aws.there
  primary_key_arn         = aws_kms_key.everywhere.arn
  description             = "copy"
  deletion_window_in_days = 7
  tags                    = { team = "red" }
}

resource "aws_kms_external_key" "brought" {
  description             = "brought along"
  key_material_base64     = "Wblj06fduthWggmsT0cLVoIMOkeLbc2kVfMud77i/JY="
  deletion_window_in_days = 7
  enabled                 = true
}

resource "aws_kms_key" "signs" {
  description              = "stage ${var.stage}"
  customer_master_key_spec = "RSA_2048"
  key_usage                = "SIGN_VERIFY"
  deletion_window_in_days  = 7
}

data "aws_kms_alias" "volumes" {
  name = "alias/aws/ebs"
}

resource "aws_kms_grant" "web" {
  name              = "web"
  key_id            = aws_kms_key.everywhere.key_id
  grantee_principal = aws_iam_role.web.arn
  operations        = ["Encrypt", "Decrypt"]

  constraints {
    encryption_context_equals = { team = "red" }
  }
}

# --- who looks --------------------------------------------------------------------------------------------------------

resource "aws_cloudwatch_metric_alarm" "busy" {
  alarm_name          = "busy"
  alarm_description   = "stage ${var.stage}"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  evaluation_periods  = 2
  datapoints_to_alarm = 1
  metric_name         = "CPUUtilization"
  namespace           = "AWS/EC2"
  period              = 120
  statistic           = "Average"
  threshold           = var.stage == "one" ? 80 : 90
  treat_missing_data  = "notBreaching"
  dimensions          = { InstanceId = "i-0123456789abcdef0" }
  alarm_actions       = ["arn:aws:sns:us-east-1:123456789012:topic"]
  tags                = { Stage = var.stage }
}

resource "aws_cloudwatch_metric_alarm" "failing" {
  alarm_name          = "failing"
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 1
  threshold           = 10

  metric_query {
    id          = "share"
    expression  = "errors / requests * 100"
    label       = "share of errors"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { errors = "Errors", requests = "Requests" }
    content {
      id = metric_query.key
      metric {
        metric_name = metric_query.value
        namespace   = "Web"
        period      = 60
        stat        = "Sum"
      }
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "either" {
  alarm_name = "either"
  alarm_rule = join(" OR ", [for name in [
    aws_cloudwatch_metric_alarm.busy.alarm_name, aws_cloudwatch_metric_alarm.failing.alarm_name
  ] : "ALARM(${name})"])
}

resource "aws_cloudwatch_dashboard" "web" {
  dashboard_name = "web"
  dashboard_body = jsonencode({
    widgets = [{ type = "text", x = 0, y = 0, width = 3, height = 3, properties = { markdown = var.stage } }]
  })
}
