# A VPC with a public and a private subnet: a door that one may knock at from this machine, and behind it a machine with
# a volume, whose only way out is a NAT gateway. `docs/private-cloud.md` goes through it.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "public_key" {
  description = "The SSH key that both machines let in, as in ~/.ssh/id_ed25519.pub."
}

data "aws_ami" "micro" {
  owners      = ["self"]
  most_recent = true
  filter {
    name   = "name"
    values = ["nephele-micro"]
  }
}

data "aws_availability_zones" "here" {}

locals {
  zone = data.aws_availability_zones.here.names[0]
}

# --- the network ---------------------------------------------------------------------------------

resource "aws_vpc" "cloud" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_subnet" "public" {
  vpc_id            = aws_vpc.cloud.id
  cidr_block        = "10.0.1.0/24"
  availability_zone = local.zone
}

resource "aws_subnet" "private" {
  vpc_id            = aws_vpc.cloud.id
  cidr_block        = "10.0.2.0/24"
  availability_zone = local.zone
}

resource "aws_internet_gateway" "out" {
  vpc_id = aws_vpc.cloud.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.cloud.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.out.id
  }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.out]
}

resource "aws_nat_gateway" "out" {
  subnet_id     = aws_subnet.public.id
  allocation_id = aws_eip.nat.id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.cloud.id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.out.id
  }
}

resource "aws_route_table_association" "private" {
  subnet_id      = aws_subnet.private.id
  route_table_id = aws_route_table.private.id
}

# --- who may speak to whom -----------------------------------------------------------------------

resource "aws_security_group" "door" {
  name   = "door"
  vpc_id = aws_vpc.cloud.id
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "inside" {
  name   = "inside"
  vpc_id = aws_vpc.cloud.id
  ingress {
    protocol        = "tcp"
    from_port       = 22
    to_port         = 22
    security_groups = [aws_security_group.door.id]
  }
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# --- machines ------------------------------------------------------------------------------------

resource "aws_key_pair" "mine" {
  key_name   = "mine"
  public_key = var.public_key
}

resource "aws_instance" "door" {
  ami                    = data.aws_ami.micro.id
  instance_type          = "t3.nano"
  subnet_id              = aws_subnet.public.id
  vpc_security_group_ids = [aws_security_group.door.id]
  key_name               = aws_key_pair.mine.key_name
  tags                   = { Name = "door" }
}

resource "aws_eip" "door" {
  domain     = "vpc"
  instance   = aws_instance.door.id
  depends_on = [aws_internet_gateway.out]
}

resource "aws_instance" "worker" {
  ami                    = data.aws_ami.micro.id
  instance_type          = "t3.nano"
  subnet_id              = aws_subnet.private.id
  vpc_security_group_ids = [aws_security_group.inside.id]
  key_name               = aws_key_pair.mine.key_name
  tags                   = { Name = "worker" }
}

resource "aws_ebs_volume" "data" {
  availability_zone = local.zone
  size              = 1
  type              = "gp3"
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.worker.id
}

output "door" { value = aws_eip.door.public_ip }
output "worker" { value = aws_instance.worker.private_ip }
output "worker_id" { value = aws_instance.worker.id }
output "door_id" { value = aws_instance.door.id }
output "volume" { value = aws_ebs_volume.data.id }
output "nat" { value = aws_eip.nat.public_ip }
